package plan

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/inventory"
	"github.com/vmferry/vmferry/migrate/history"
	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource"
	"github.com/vmferry/vmferry/resource/ocf/metadata"
)

// addRungs adds two rungs that there are not: a live one, and one that ends the guest.
func addRungs(t *testing.T) {
	usual := ladder.Specs
	t.Cleanup(func() { ladder.Specs = usual })
	nudge := ladder.Spec{
		Name: "nudge", Live: true, After: ladder.Live, Needs: []ladder.Need{ladder.JobControl},
		Throttle: func(int) int { return 90 }, Text: "asks the guest to write less.",
	}
	hibernate := ladder.Spec{
		Name: "hibernate", Ended: "it was hibernated", Text: "has the guest save itself.",
		Takes: func(ladder.Ending) (time.Duration, bool) { return 3 * time.Second, true },
	}
	ladder.Specs = slices.Insert(slices.Clone(usual), 1, nudge)
	ladder.Specs = slices.Insert(ladder.Specs, 5, hibernate)
}

// A new rung is parsed, described, predicted and planned by its spec alone.
func TestNewRungNeedsOnlyItsSpec(t *testing.T) {
	addRungs(t)
	const given = "live,nudge,hibernate"
	env := resource.ParseEnviron([]string{"OCF_RESKEY_config=/g.xml", "OCF_RESKEY_hypervisor=qemu:///system",
		"OCF_RESKEY_ladder=" + given})
	for _, p := range env.Problems {
		if p.Param == "ladder" {
			t.Error(p.Err)
		}
	}
	if got := env.Params.Ladder; got.Named() != given || !slices.Equal(got[3:], ladder.Rungs{"shutdown", "destroy"}) {
		t.Errorf("parsed as %v", got)
	}
	described, _ := metadata.Lookup("ladder")
	for _, words := range []string{"nudge asks the guest to write less.", "hibernate has the guest save itself."} {
		if text := strings.Join(strings.Fields(described.Long()), " "); !strings.Contains(text, words) {
			t.Errorf("the meta-data does not say %q: %s", words, text)
		}
	}
	for _, c := range []struct {
		name, uri string
		dirty     uint64
		window    time.Duration
		want      ladder.Rung
	}{
		{"an idle guest", "qemu:///system", 1 << 20, time.Minute, "live"},
		{"a guest that converges only when it writes less", "qemu:///system", 500 << 20, time.Minute, "nudge"},
		{"one whose driver cannot do that", "xen:///system", 500 << 20, time.Minute, "hibernate"},
		{"one that has no time to move", "qemu:///system", 1 << 20, 4 * time.Second, "hibernate"},
	} {
		g := &inventory.Guest{Name: "g", URI: c.uri, Claim: &inventory.Claim{Claim: hbplugin.Claim{Environ: env}}}
		r, err := Make(Observed{
			Node: "n1", Managed: true, Window: c.window, Link: history.Link{Bandwidth: 400 << 20},
			Predictions: []inventory.Prediction{{Guest: g, Verdict: hbplugin.Verdict{Fate: hbplugin.MovesLive, To: "n2"}}},
			Loads: map[string]libvirt.Load{"g": {Memory: 2 << 30, Resident: 2 << 30,
				Dirty: libvirt.Dirty{Measured: true, Rate: c.dirty}}},
		})
		if err != nil || len(r.Steps) != 1 || r.Steps[0].Rung != c.want {
			t.Errorf("%s: %+v, %v, want %q", c.name, r.Steps, err, c.want)
		}
	}
}
