package predict

import (
	"testing"

	"github.com/vmferry/vmferry/migrate/history"
	"github.com/vmferry/vmferry/migrate/libvirt"
)

// TestProfileWrites weighs what a move showed against QEMU's samples.
func TestProfileWrites(t *testing.T) {
	known := history.Profile{DirtyRate: 16 * mib, WorkingSet: 32 * mib}
	for _, c := range []struct {
		name     string
		known    history.Profile
		measured uint64 // MiB/s, 0 for none
		rate     float64
		set      uint64
	}{
		{"nothing is known", history.Profile{}, 0, 0, 0},
		{"measured alone", history.Profile{}, 20, 20, 0},
		{"remembered alone", known, 0, 16, 32},
		{"measured nearly the same", known, 20, 16, 32},
		{"it writes more now", known, 30, 30, 32},
		{"it writes less now", known, 2, 2, 32},
		{"it writes more in a second than all that passes found", known, 60, 60, 0},
	} {
		rate, set := writes(c.known, libvirt.Dirty{Measured: c.measured > 0, Rate: c.measured * mib})
		if rate != c.rate*mib || set != c.set*mib {
			t.Errorf("%s: %v MiB/s of %d MiB, want %v, %d", c.name, rate/mib, set/mib, c.rate, c.set)
		}
	}
}
