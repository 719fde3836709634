package predict

import (
	"math"
	"sort"
	"time"

	"github.com/vmferry/vmferry/migrate/ladder"
)

// Load is what is known of a guest before it moves.
type Load struct {
	Memory     uint64        // bytes in use: those that the first pass sends
	DirtyRate  float64       // bytes per second that the guest writes for the first time since a pass began
	WorkingSet uint64        // the most bytes that a pass can find dirty, however long it took; 0 for all of Memory
	Device     uint64        // bytes of device state, sent while the guest is stopped
	Limit      time.Duration // the downtime limit of the first passes, 30 ms when 0
	Budget     time.Duration // the longest blackout allowed, 0 for no bound
	HandOver   time.Duration // the part of the blackout that is not the last copy, whatever the bandwidth
	Disks      uint64        // bytes of disks that go along, which are copied before the memory
}

// Prediction is how one move will go. Predict makes it, and does no input or output.
type Prediction struct {
	Rung     ladder.Rung   `json:"means"`
	Rate     float64       `json:"rate"`               // bytes per second that it assumes
	Duration time.Duration `json:"duration"`           // from the first byte until the source has nothing left to send
	Bytes    uint64        `json:"bytes"`              // sent in all
	Passes   int           `json:"passes"`             // over the memory, the last copy not counted
	Pause    time.Duration `json:"pause"`              // last copy and hand-over: what the blackout is at least
	Limit    time.Duration `json:"limit"`              // the downtime limit with which it ends
	Throttle int           `json:"throttle,omitempty"` // per cent taken from the guest in the last pass
	Kept     bool          `json:"kept"`               // it ends by itself, and within the budget
	Need     *Need         `json:"need,omitempty"`     // only for plain pre-copy that is not kept
}

// Need says what a guest needs for which plain pre-copy is not enough.
type Need struct {
	Throttle int  `json:"throttle"`  // the least per cent with which pre-copy would be kept, 0 when none is enough
	PostCopy bool `json:"post_copy"` // post-copy would keep the budget
}

const (
	defaultLimit = 30 * time.Millisecond

	// patience is how many passes are made at the first limit before it is doubled with each.
	patience = 3

	// maxPasses is where a migration is given up: it needs this many only when the guest writes at
	// more than 95 per cent of the bandwidth, and then the estimate means nothing.
	maxPasses = 100

	// Forever is more than any time that counts, and small enough to add up.
	Forever = time.Duration(math.MaxInt64 / 4)
)

// WithNeed says how a move of l by m goes at a constant rate, in bytes per second. A rate that is not
// above zero, or a rung that uses no link, gives a prediction that is not kept and lasts Forever.
//
// More bandwidth never makes a move longer, nor has it send more; more memory, a higher dirty rate or
// a larger working set never makes it shorter. The pause is not monotone: a move that ends a pass
// earlier may leave more to the last copy, but no more than the limit.
func WithNeed(l Load, rate float64, m ladder.Rung) Prediction {
	p := AtRate(l, rate, m)
	if m.IsPlain() && !p.Kept {
		p.Need = l.needs(rate)
	}
	return p
}

// Ends reports whether it ends by itself, within the budget or not.
func (p Prediction) Ends() bool { return p.Passes > 0 && p.Passes < maxPasses }

// Usable reports whether it is a rate to predict with.
func Usable(rate float64) bool { return rate > 0 && !math.IsInf(rate, 1) }

// AtRate is WithNeed without the Need, which takes longest to find.
func AtRate(l Load, rate float64, m ladder.Rung) Prediction {
	p := Prediction{Rung: m, Rate: rate, Duration: Forever, Pause: Forever}
	switch s := m.Spec(); {
	case !Usable(rate) || !s.Live || l.Disks > 0 && m.Needs(ladder.SharedDisks):
	case s.PostCopy:
		p = l.postCopy(rate)
	default:
		p = l.preCopy(rate, s.Throttle)
	}
	p.Rung = m
	return p
}

// preCopy sends in each pass what was written during the one before, until the rest fits the limit. throttle is that
// of [ladder.Spec].
func (l Load) preCopy(rate float64, throttle func(pass int) int) Prediction {
	p := Prediction{Rate: rate}
	rest, sent, seconds := float64(l.Memory), float64(l.Disks), float64(l.Disks)/rate
	for p.Passes = 1; ; p.Passes++ {
		took := rest / rate
		sent, seconds = sent+rest, seconds+took
		if throttle != nil {
			p.Throttle = throttle(p.Passes)
		}
		rest = l.written(took, p.Throttle)
		p.Limit = l.limit(p.Passes)
		last := Seconds((rest + float64(l.Device)) / rate)
		done := last <= p.Limit
		if !done && p.Passes < maxPasses {
			continue
		}
		p.Pause = Later(last, l.HandOver)
		p.Duration = Later(Seconds(seconds), p.Pause)
		p.Bytes = toBytes(sent + rest + float64(l.Device))
		p.Kept = done && l.allows(p.Pause)
		return p
	}
}

// postCopy stops the guest after one pass, for the device state alone.
func (l Load) postCopy(rate float64) Prediction {
	first := float64(l.Memory) / rate
	rest, device := l.written(first, 0), float64(l.Device)
	p := Prediction{Rate: rate, Passes: 1, Bytes: toBytes(float64(l.Memory) + rest + device)}
	p.Pause = Later(Seconds(device/rate), l.HandOver)
	p.Limit = Seconds(device / rate)
	p.Duration = Later(Seconds(first+rest/rate), p.Pause)
	p.Kept = l.allows(p.Pause)
	return p
}

// written is how many bytes are dirty after so many seconds.
func (l Load) written(seconds float64, throttle int) float64 {
	most := float64(l.Memory)
	if l.WorkingSet > 0 && l.WorkingSet < l.Memory {
		most = float64(l.WorkingSet)
	}
	bytes := l.DirtyRate * float64(100-throttle) / 100 * seconds
	if bytes < most { // and not when it is not a number
		return max(bytes, 0)
	}
	return most
}

// limit is the downtime limit after that many passes. The policy of a real move is slower to
// raise it, by the clock; which of the two a guest meets first makes no difference to the bound.
func (l Load) limit(passes int) time.Duration {
	limit, ceiling := l.Limit, Forever
	if limit <= 0 {
		limit = defaultLimit
	}
	if l.Budget > 0 {
		ceiling = max(l.Budget-l.HandOver, l.Budget/2) // as the engine has it
	}
	for ; passes > patience && limit < ceiling; passes-- {
		limit *= 2
	}
	return min(limit, ceiling)
}

func (l Load) allows(pause time.Duration) bool { return l.Budget <= 0 || pause <= l.Budget }

func (l Load) needs(rate float64) *Need {
	n := &Need{PostCopy: Usable(rate) && l.Disks == 0 && l.postCopy(rate).Kept}
	const most = 99 // QEMU's own bound
	least := 1 + sort.Search(most, func(i int) bool {
		return Usable(rate) && l.preCopy(rate, func(int) int { return i + 1 }).Kept
	})
	if least <= most {
		n.Throttle = least
	}
	return n
}

// Seconds is so many seconds, at most Forever.
func Seconds(seconds float64) time.Duration {
	if ns := seconds * float64(time.Second); ns < float64(Forever) {
		return time.Duration(ns)
	}
	return Forever
}

func toBytes(b float64) uint64 {
	if b < math.MaxUint64 {
		return uint64(b)
	}
	return math.MaxUint64
}

// Later is t+d without overflow.
func Later(t, d time.Duration) time.Duration { return min(min(t, Forever)+min(d, Forever), Forever) }
