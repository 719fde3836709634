package preflight

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

func says(text string) error {
	return &libvirt.Error{Op: "rehearse", URI: "fake:///source", Message: text}
}

func TestJudgeRehearsal(t *testing.T) {
	for _, c := range []struct {
		name            string
		direct, managed error
		manages         bool
		check           string
	}{
		{"nothing against it", nil, nil, false, ""},
		{"the daemon has no key", says("Host key verification failed"), nil, true, ""},
		{"libvirt refuses the guest", says("1 snapshots"), says("1 snapshots"), false, CheckLibvirt},
		{"neither reaches it", says("connection refused"), says("no route"), false, CheckConnection},
	} {
		managed, check, err := rehearsal{c.direct, c.managed}.judge()
		if managed != c.manages || check != c.check || (err == nil) != (check == "") {
			t.Errorf("%s: managed %v, check %q, %v", c.name, managed, check, err)
		}
	}
}

func TestSnapshotHint(t *testing.T) {
	for _, c := range []struct {
		s    libvirt.Snapshots
		want []string
	}{
		{libvirt.Snapshots{}, nil},
		{libvirt.Snapshots{Snapshots: []string{"-a", "b c"}},
			[]string{`snapshots ["-a" "b c"]`, "virsh snapshot-delete --metadata -- 'Night Watch 1' -a",
				"stays in the image"}},
		{libvirt.Snapshots{Checkpoints: []string{"daily"}},
			[]string{`checkpoints ["daily"]`, "virsh checkpoint-delete --metadata 'Night Watch 1' daily", "full one"}},
	} {
		hint := snapshotHint("Night Watch 1", c.s)
		if (hint == "") != (len(c.want) == 0) {
			t.Errorf("%+v: %q", c.s, hint)
		}
		for _, want := range c.want {
			if !strings.Contains(hint, want) {
				t.Errorf("%q does not say %q", hint, want)
			}
		}
	}
}

// What the target refuses counts where the source accepts it.
func TestTargetLacksWhatTheGuestIsMadeOf(t *testing.T) {
	refused := says("Emulator '/usr/bin/qemu' does not support machine type 'pc-i440fx-99.0'")
	for _, c := range []struct {
		name        string
		there, here error
		refused     bool
		note        string
	}{
		{"both accept", nil, nil, false, ""},
		{"target refuses", refused, nil, true, ""},
		{"both refuse", refused, refused, false, ""},
		{"connection lost", &libvirt.Error{Message: "broken", Kind: libvirt.ErrConnect}, nil, false, "was not checked"},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := newPair(t)
			p.Target.Refuses, p.Source.Refuses = c.there, c.here
			x, err := p.run(t)
			if err != nil || (len(x.Refusals) == 1) != c.refused || c.refused && x.Refusals[0].Check != CheckHypervisor {
				t.Errorf("%s: %v, %v", c.name, x.Refusals, err)
			}
			if !strings.Contains(strings.Join(x.Notes, ";"), c.note) {
				t.Errorf("%s: notes %q", c.name, x.Notes)
			}
		})
	}
}

// An operation that libvirt does not support for this guest is a refusal like any other.
func TestUnsupportedForThisGuest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.Source.Rehearsal = func(libvirt.MigrateParams) error {
			return &libvirt.Error{Code: 84, Kind: libvirt.ErrUnsupported,
				Message: "migration with such a device is not supported"}
		}
		x, err := p.run(t)
		if err != nil || len(x.Refusals) != 1 || x.Refusals[0].Check != CheckLibvirt {
			t.Errorf("%+v, %v", x, err)
		}
	})
}
