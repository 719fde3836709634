package check

import (
	"slices"
	"testing"

	"github.com/vmferry/vmferry/hbplugin/pacemaker/cib"
)

func TestFenceWaits(t *testing.T) {
	device := func(id string, params map[string]string) cib.Resource {
		return cib.Resource{ID: id, Agent: "stonith:fence_ipmilan", Params: params}
	}
	for _, tt := range []struct {
		name      string
		options   map[string]string
		resources []cib.Resource
		want      []string
	}{
		{"nothing", nil, nil, nil},
		{"none that waits", map[string]string{"stonith-watchdog-timeout": "0", "priority-fencing-delay": "0s"},
			[]cib.Resource{device("f1", map[string]string{"pcmk_delay_max": "0", "pcmk_delay_base": "0ms"})}, nil},
		{"a watchdog", map[string]string{"stonith-watchdog-timeout": "10s"}, nil,
			[]string{"stonith-watchdog-timeout=10s"}},
		{"a device", map[string]string{"priority-fencing-delay": "15"},
			[]cib.Resource{device("f1", nil), device("f2", map[string]string{"pcmk_delay_max": "30s"})},
			[]string{"priority-fencing-delay=15", "pcmk_delay_max=30s of f2"}},
		{"no device", nil, []cib.Resource{{ID: "web", Agent: "ocf:vmferry:Domain",
			Params: map[string]string{"pcmk_delay_max": "30s"}}}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := fenceWaits(cib.Config{Options: tt.options, Resources: tt.resources}); !slices.Equal(got,
				tt.want) {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}
