package inventory

import (
	"testing"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/resource/param"
)

func TestPinned(t *testing.T) {
	for _, test := range []struct {
		name   string
		meta   map[string]string
		ladder []ladder.Rung
		want   bool
	}{
		{"usual", map[string]string{"allow-migrate": "true"}, ladder.Default, false},
		{"forgotten", nil, ladder.Default, false},
		{"said", map[string]string{"allow-migrate": "False"}, ladder.Default, true},
		{"by its ladder", map[string]string{"allow-migrate": "true"}, []ladder.Rung{ladder.Shutdown}, true},
	} {
		c := Claim{Claim: hbplugin.Claim{Meta: test.meta,
			Environ: param.Environ{Params: param.Params{Ladder: test.ladder}}}}
		if got := c.IsPinned(); got != test.want {
			t.Errorf("%s: %t", test.name, got)
		}
	}
}
