package predict

import (
	"math"
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate/convergence"
	"github.com/vmferry/vmferry/migrate/history"
	"github.com/vmferry/vmferry/migrate/libvirt"
)

// What is expected of a guest that wrote 300 MiB/s to 90 MiB when it was last moved.
func TestExpectXBZRLE(t *testing.T) {
	for _, c := range []struct {
		name     string
		link     history.Link
		bound    uint64 // MiB/s
		measured uint64 // MiB/s, 0 for none
		set      uint64 // MiB
		want     bool
	}{
		{"as remembered", history.Link{Bandwidth: 100 * mib}, 0, 0, 90, true},
		{"the link may carry more", history.Link{Bandwidth: 100 * mib, AtLeast: true}, 0, 0, 90, false},
		{"and a bound is above what it has shown", history.Link{Bandwidth: 100 * mib, AtLeast: true}, 200, 0, 90,
			false},
		{"the bound is what holds", history.Link{Bandwidth: 100 * mib, AtLeast: true}, 100, 0, 90, true},
		{"it writes to far more now", history.Link{Bandwidth: 100 * mib}, 0, 800, 600, false},
	} {
		k := Known{Link: c.link, Load: libvirt.Load{Memory: 600 * mib}, Budget: convergence.DefaultBudget,
			Bound: c.bound * mib,
			Guest: history.Profile{WorkingSet: 90 * mib, DirtyRate: 300 * mib, Touched: 1, Moves: 1}}
		k.Load.Dirty = libvirt.Dirty{Measured: c.measured > 0, Rate: c.measured * mib}
		p := Plan{Policy: convergence.NewPolicy(convergence.Pause{HandOver: 50 * time.Millisecond}, 0),
			Left:             math.MaxInt64,
			SwitchoverXBZRLE: max(c.link.Bandwidth/2, k.Rate())}
		p.Policy.AutoConverge, p.Policy.XBZRLECache, p.Policy.SingleConnection = true, convergence.MaxXBZRLECache, true
		s := convergence.State{WorkingSet: k.Guest.WorkingSet}
		if k.Expect(p, &s); s.XBZRLEHelps != c.want || s.WorkingSet != c.set*mib {
			t.Errorf("%s: it helps: %v, with a set of %d MiB", c.name, s.XBZRLEHelps, s.WorkingSet/mib)
		}
	}
}

const mib = 1 << 20

// FuzzLoadWithin: whatever the hypervisor and the history say, the load is one that the model can predict from.
func FuzzLoadWithin(f *testing.F) {
	f.Add(uint64(1<<40), uint64(1<<30), uint64(1), 0.5, uint64(17039360), uint64(0), false)
	f.Add(uint64(0), uint64(math.MaxUint64), uint64(1<<50), 1.0, uint64(1<<50), uint64(math.MaxUint64), true)
	f.Fuzz(func(t *testing.T, memory, resident, set uint64, touched float64, learned, measured uint64, is bool) {
		if !(touched >= 0 && touched <= 1) {
			t.Skip("no file says so")
		}
		k := Known{Load: libvirt.Load{Memory: memory, Resident: resident,
			Dirty: libvirt.Dirty{Measured: is, Rate: measured}},
			Guest: history.Profile{WorkingSet: set, Touched: touched, DirtyRate: learned}}
		load := k.LoadWithin(time.Second)
		if load.WorkingSet > load.Memory || memory > 0 && load.Memory > memory || !(load.DirtyRate >= 0) {
			t.Errorf("%+v gives %+v", k, load)
		}
	})
}
