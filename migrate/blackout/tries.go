package blackout

import "time"

// tryMemory is how many of the newest send times are kept: 16 s at 1 ms. Older
// ones are only needed after an answer that is later than that; the nominal
// interval stands in for them then.
const tryMemory = 1 << 14

// tries remembers when the newest probes were sent, by sequence number: each
// left between at, when the sender read the clock, and done, when the kernel
// had taken it. The two differ when the sender is kept from running in between.
type tries struct {
	at, done []time.Duration
	last     uint64
}

func newTries() tries {
	return tries{at: make([]time.Duration, tryMemory), done: make([]time.Duration, tryMemory)}
}

// add notes one more probe and returns its sequence number, from 1.
func (t *tries) add(at time.Duration) uint64 {
	t.last++
	t.at[t.last%tryMemory], t.done[t.last%tryMemory] = at, at
	return t.last
}

// finish notes when the kernel had taken the newest probe.
func (t *tries) finish(at time.Duration) {
	i := t.last % tryMemory
	t.done[i] = max(t.at[i], at)
}

// time returns when probe seq was sent, if that is still known.
func (t *tries) time(seq uint64) (time.Duration, bool) {
	if seq == 0 || seq > t.last || t.last-seq >= tryMemory {
		return 0, false
	}
	return t.at[seq%tryMemory], true
}

// spacing returns the most time that can have been between probe seq-1 and
// probe seq, or otherwise when one of the two is not known.
func (t *tries) spacing(seq uint64, otherwise time.Duration) time.Duration {
	before, ok := t.time(seq - 1)
	if _, known := t.time(seq); !ok || !known {
		return otherwise
	}
	return t.done[seq%tryMemory] - before
}
