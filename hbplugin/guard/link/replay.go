package link

import "time"

// Received knows the renewals that one other node has sent, so that none counts twice.
type Received struct {
	run      uint64
	past     map[uint64]bool // runs that ended
	sequence uint64
}

// maxPast is how many runs of a guard are remembered. A node whose guard was started more often than that within one
// run of this one is not acknowledged any more.
const maxPast = 4096

// Fresh reports whether m, a renewal, was never received before, and nothing after it.
func (r *Received) Fresh(m Message) bool {
	if m.Run != r.run {
		if r.past[m.Run] || len(r.past) >= maxPast {
			return false
		}
		if r.past == nil {
			r.past = map[uint64]bool{}
		}
		r.past[r.run] = true
		r.run, r.sequence = m.Run, 0
	}
	if m.Sequence <= r.sequence {
		return false
	}
	r.sequence = m.Sequence
	return true
}

// Sent knows when the renewals that are not acknowledged yet were sent to one other node.
type Sent struct {
	begun map[uint64]time.Duration
}

// Add takes that a renewal was sent. What was sent more than keep before is forgotten: its acknowledgement would renew
// nothing.
func (s *Sent) Add(sequence uint64, begun, keep time.Duration) {
	if s.begun == nil {
		s.begun = map[uint64]time.Duration{}
	}
	for n, at := range s.begun {
		if begun-at > keep {
			delete(s.begun, n)
		}
	}
	s.begun[sequence] = begun
}

// Acknowledged is when the renewal with that number was sent; ok is false where none is outstanding.
func (s *Sent) Acknowledged(sequence uint64) (begun time.Duration, ok bool) {
	begun, ok = s.begun[sequence]
	delete(s.begun, sequence)
	return begun, ok
}
