package history

import (
	"cmp"
	"time"

	"github.com/vmferry/vmferry/migrate/convergence"
	"github.com/vmferry/vmferry/migrate/qmp"
	"github.com/vmferry/vmferry/migrate/record"
)

// shortPass is the least time of a pass that says how fast the guest writes: QEMU sends what a tenth of a second
// may carry at once.
const shortPass = 200 * time.Millisecond

// pass is one pass over the memory that ended.
type pass struct {
	took  time.Duration
	bytes uint64
}

// rateOf is the rate of the pass of that index, in bytes per second: that which was allowed or else the highest seen.
func rateOf(r *record.Record, pass int) uint64 {
	bound := r.Cap
	if pass < convergence.PaceLift-1 {
		bound = cmp.Or(r.Pace, bound)
	}
	if bound == 0 {
		return r.Rate
	}
	return min(bound, cmp.Or(r.Rate, bound))
}

// passesOf are what QEMU's events show of them. The pass in which the pace was lifted has two rates, so that its time
// does not show its size: those before it count.
func passesOf(r *record.Record) []pass {
	lifted := r.Pace > 0 && r.Cap != r.Pace
	var all []pass
	var began time.Time
	for _, ph := range r.Phases {
		if ph.Side != qmp.Source || ph.Name != qmp.PhasePass && ph.Name != qmp.PhaseStop {
			continue
		}
		rate := rateOf(r, len(all))
		if took := ph.Stamp.Sub(began); !began.IsZero() && took > 0 && rate > 0 {
			all = append(all, pass{took, uint64(took.Seconds() * float64(rate))})
		}
		if lifted && len(all) == convergence.PaceLift-1 {
			break
		}
		began = ph.Stamp
		if ph.Name == qmp.PhaseStop {
			break
		}
	}
	return all
}

// largest is the size of the largest of the passes that are long enough to show it.
func largest(passes []pass) (most uint64) {
	for _, p := range passes {
		if p.took >= shortPass {
			most = max(most, p.bytes)
		}
	}
	return most
}

// writes is how fast the guest writes, in bytes per second, by the longest pass that found less than its whole working
// set; 0 where there is none. A single shorter pass shows nothing: a raised limit has QEMU look at the dirty pages
// before the end of a pass. least is what passes found at least.
func writes(passes []pass) (exact, least uint64) {
	const agree = 1.3
	most := largest(passes[1:])
	var before float64 // the rate by a pass of less than the set
	for i := 1; i < len(passes); i++ {
		found, of := passes[i], passes[i-1]
		if found.took < shortPass || of.took < shortPass {
			break
		}
		rate := float64(found.bytes) / of.took.Seconds()
		if before > 0 && rate < before*agree && before < rate*agree {
			return uint64(before), uint64(before)
		}
		before = 0
		if found.bytes < most/20*19 {
			before = rate
		} else {
			least = max(least, uint64(rate))
		}
	}
	return 0, least
}

// device is what sending the device state took, of a pause whose limit left next to nothing for the memory.
func device(r *record.Record) (ms float64, known bool) {
	ms, known = r.FinalCopy()
	n := len(r.DowntimeLimitsMS)
	return ms, known && n > 0 && r.DowntimeLimitsMS[n-1] <= record.Millis(convergence.DefaultInitialDowntime)
}
