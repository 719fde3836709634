package outcome

import (
	"errors"
	"testing"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/inventory"
	"github.com/vmferry/vmferry/migrate/libvirt"
)

func TestLine(t *testing.T) {
	pause := 21.5
	for _, test := range []struct {
		g    Guest
		want string
	}{
		{Guest{Happened: hbplugin.MovesLive, AsSaid: true, Nodes: []string{"n2"}, PauseMS: &pause},
			"g: moved live to n2, pause 21.5 ms"},
		{Guest{Happened: hbplugin.MovesLive, Nodes: []string{"n2"},
			Said: hbplugin.Verdict{Fate: hbplugin.Unknown, Why: "no answer"}},
			"g: moved live to n2; predicted: cannot tell: no answer"},
		{Guest{Happened: hbplugin.Restarts, AsSaid: true, Nodes: []string{"n2"}, Why: "a",
			Said: hbplugin.Verdict{Why: "b"}},
			"g: restarted elsewhere, on n2 now: b"},
		{Guest{Happened: hbplugin.Stops, Why: "a\nb", Said: hbplugin.Verdict{Fate: hbplugin.MovesLive, To: "n2"}},
			"g: stopped, no place: a; b; predicted: moves live to n2"},
		{Guest{Happened: hbplugin.Stays, AsSaid: true, Nodes: []string{"n1"}}, "g: stayed"},
	} {
		test.g.Guest = "g"
		if got := test.g.Line(); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

// A guest whose migration failed is on the target by Pacemaker's word until it has been stopped there.
func TestAllPlaced(t *testing.T) {
	guests := []inventory.Prediction{{Guest: &inventory.Guest{Name: "g", Claim: &inventory.Claim{}}}}
	on2 := []string{"n2"}
	for name, c := range map[string]struct {
		p    Place
		want bool
	}{
		"runs there":          {Place{Nodes: on2, There: &libvirt.Status{State: libvirt.Running}}, true},
		"nobody could ask":    {Place{Nodes: on2}, true},
		"not started yet":     {Place{Nodes: on2, There: &libvirt.Status{State: libvirt.ShutOff}}, false},
		"being started":       {Place{Nodes: on2, IsBusy: true}, false},
		"nowhere":             {Place{}, false},
		"on two":              {Place{Nodes: []string{"n1", "n2"}}, false},
		"the manager is mute": {Place{Err: errors.New("no answer")}, false},
	} {
		if got := allPlaced(guests, map[string]Place{"g": c.p}); got != c.want {
			t.Errorf("%s: placed %v", name, got)
		}
	}
}
