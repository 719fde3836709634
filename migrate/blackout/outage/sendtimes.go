package outage

import "time"

// Of the newest send times, those of sendMemory are kept. Older ones are only
// needed after an answer that is later than that; the nominal interval is
// used then.
const (
	sendMemory = 16 * time.Second
	minSends   = 1 << 10
	maxSends   = 1 << 15
)

// sendTimes remembers when the newest probes were sent, by sequence number: each
// left between at, when the sender read the clock, and done, when the kernel
// had taken it. The two differ when the sender is kept from running in between.
type sendTimes struct {
	at, done []time.Duration
	last     uint64
}

// newSendTimes returns room for probes that are sent at an interval.
func newSendTimes(interval time.Duration) sendTimes {
	size := min(max(sendMemory/interval, minSends), maxSends)
	return sendTimes{at: make([]time.Duration, size), done: make([]time.Duration, size)}
}

func (t *sendTimes) size() uint64 { return uint64(len(t.at)) }

// add notes one more probe and returns its sequence number, from 1.
func (t *sendTimes) add(at time.Duration) uint64 {
	t.last++
	i := t.last % t.size()
	t.at[i], t.done[i] = at, at
	return t.last
}

// finish notes when the kernel had taken a probe.
func (t *sendTimes) finish(seq uint64, at time.Duration) {
	if _, ok := t.time(seq); ok {
		i := seq % t.size()
		t.done[i] = max(t.at[i], at)
	}
}

// time returns when probe seq was sent, if that is still known.
func (t *sendTimes) time(seq uint64) (time.Duration, bool) {
	if seq == 0 || seq > t.last || t.last-seq >= t.size() {
		return 0, false
	}
	return t.at[seq%t.size()], true
}

// spacing returns the most time that can have been between probe seq-1 and
// probe seq, or otherwise when one of the two is not known.
func (t *sendTimes) spacing(seq uint64, otherwise time.Duration) time.Duration {
	before, ok := t.time(seq - 1)
	if _, known := t.time(seq); !ok || !known {
		return otherwise
	}
	return t.done[seq%t.size()] - before
}
