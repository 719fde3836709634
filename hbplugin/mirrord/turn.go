package mirrord

import "time"

// A round that has failed is tried again after the guest's interval, mostRetry at most, and then after twice that each
// time, slowest at most.
const (
	mostRetry = 30 * time.Second
	slowest   = 2 * time.Minute
)

// turn is when a guest's rounds are due. It keeps no time itself.
type turn struct {
	every func(target string) time.Duration // the interval of a disk; "" for one that is not known
	since time.Time                         // when the guest came
	gone  bool                              // and has left
	held  time.Time                         // no round begins before
	now   bool                              // one of all disks is due
	retry time.Time                         // nor before this
	tried int                               // rounds that have failed one after the other
	whole map[string]time.Time              // by target: when the disk's last whole round began
}

// due is when the next round is: never where ok is false, and long ago where none was whole yet.
func (t *turn) due() (at time.Time, ok bool) {
	for target, last := range t.whole {
		if next := last.Add(t.every(target)); at.IsZero() || next.Before(at) {
			at = next
		}
	}
	if t.now {
		at = time.Time{}
	}
	for _, not := range []time.Time{t.retry, t.held} {
		if not.After(at) {
			at = not
		}
	}
	return at, !t.gone
}

// isDue reports whether a disk takes part in a round. One that is not known does.
func (t *turn) isDue(target string, now time.Time) bool {
	last, known := t.whole[target]
	return !known || t.now || !last.Add(t.every(target)).After(now)
}

// succeed notes a round that has ended well: when it began, all disks of the guest, and those that it sent.
func (t *turn) succeed(begun time.Time, all, sent []string) {
	whole := map[string]time.Time{}
	for _, target := range all {
		if last, known := t.whole[target]; known {
			whole[target] = last
		}
	}
	for _, target := range sent {
		whole[target] = begun
	}
	t.whole, t.tried, t.retry, t.now = whole, 0, time.Time{}, false
}

// fail notes a round that has failed.
func (t *turn) fail(now time.Time) {
	least := t.every("")
	for target := range t.whole {
		least = min(least, t.every(target))
	}
	t.retry = now.Add(min(min(least, mostRetry)<<min(t.tried, 10), slowest))
	t.tried++
}

// oldest is when the last whole round of that disk began of which it is the longest ago: what was written since may be
// lost. It is zero where there was none since the guest came. late says that a disk has missed two intervals.
func (t *turn) oldest(now time.Time) (at time.Time, late bool) {
	for target, last := range t.whole {
		if late = late || now.Sub(last) > 2*t.every(target); at.IsZero() || last.Before(at) {
			at = last
		}
	}
	return at, late || at.IsZero() && now.Sub(t.since) > 2*t.every("")
}
