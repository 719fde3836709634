package observe

import (
	"strings"
	"testing"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		libvirt                        LibvirtState
		alive, incoming, none, unknown State
	}{
		{Unreachable, Running, Unknown, NotRunning, Unknown},
		{Absent, Running, Unknown, NotRunning, Unknown},
		{"shut off/destroyed", Running, Unknown, NotRunning, Unknown},
		{"shut off/migrated", Running, Unknown, NotRunning, Unknown},
		{"no state/unknown", Running, Incoming, Unknown, Unknown},
		{"running/booted", Running, Running, Running, Running},
		{"running/migrated", Running, Running, Running, Running},
		{"running/postcopy", Running, Running, Running, Running},
		{"running/postcopy-failed", Stalled, Stalled, Stalled, Stalled},
		{"blocked/unknown", Running, Running, Running, Running},
		{"shutting down/user", Running, Running, Running, Running},
		{"paused/unknown", Running, Running, Running, Running},
		{"paused/user", Running, Running, Running, Running},
		{"paused/save", Running, Running, Running, Running},
		{"paused/snapshot", Running, Running, Running, Running},
		{"paused/migration", Switching, Incoming, Switching, Switching},
		{"paused/starting-up", Unknown, Incoming, Unknown, Unknown},
		{"paused/postcopy", Running, Running, Running, Running},
		{"paused/postcopy-failed", Stalled, Stalled, Stalled, Stalled},
		{"paused/ioerror", Stalled, Stalled, Stalled, Stalled},
		{"paused/watchdog", Stalled, Stalled, Stalled, Stalled},
		{"paused/crashed", Stalled, Stalled, Stalled, Stalled},
		{"paused/api-error", Stalled, Stalled, Stalled, Stalled},
		{"crashed/panicked", Stalled, Stalled, NotRunning, Stalled},
		{"suspended/unknown", Stalled, Stalled, Stalled, Stalled},
		{"state 42/unknown", Unknown, Unknown, Unknown, Unknown},
	} {
		for s, want := range map[ProcState]State{ProcAlive: c.alive, ProcIncoming: c.incoming, ProcNone: c.none,
			ProcUnknown: c.unknown} {
			if got := Judge(c.libvirt, s); got != want {
				t.Errorf("Judge(%q, %d) = %v, want %v", c.libvirt, s, got, want)
			}
		}
		alike := c.alive != Unknown && c.alive == c.incoming && c.alive == c.none && c.alive == c.unknown
		if got := c.libvirt.decidesAlone(); got != alike {
			t.Errorf("decidesAlone(%q) = %t, want %t", c.libvirt, got, alike)
		}
		if alike && Judge(c.libvirt, ProcUnasked) != c.alive {
			t.Errorf("Judge(%q) = %v where nobody looked, want %v", c.libvirt, Judge(c.libvirt, ProcUnasked), c.alive)
		}
	}
}

// "Cannot tell" is never "stopped": only a proof that there is no process makes a
// guest stopped, and no state in which libvirt still holds it does, a crash apart.
func TestStoppedNeedsProof(t *testing.T) {
	for a, row := range table {
		for s, v := range row {
			if v == NotRunning && ProcState(s) != ProcNone {
				t.Errorf("%q with process state %d counts as stopped", a, s)
			}
		}
		alive := strings.HasPrefix(string(a), "running") || strings.HasPrefix(string(a), "paused") || a == "no state"
		if alive && row[ProcNone] == NotRunning {
			t.Errorf("%q counts as stopped although libvirt holds the guest", a)
		}
	}
}

// Every state of libvirt's has a row.
func TestTableIsComplete(t *testing.T) {
	for s := libvirt.NoState; s <= libvirt.PMSuspended; s++ {
		if _, ok := table[LibvirtState(s.String())]; !ok {
			t.Errorf("no row for %q", s)
		}
	}
}
