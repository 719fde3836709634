package game

import "time"

// remembered is how many of the newest requests can still be answered. It is a power of two.
const remembered = 4096

// silence is the rule of migrate/blackout: after an answer, the next one is due as much later as the next request was
// sent after the one just answered. A silence lasts from then until any answer comes. Before the first answer nothing
// is due, and while nothing is sent neither.
type silence struct {
	result   Result
	sent     [remembered]time.Time // by number
	answered [remembered]bool
	begun    bool
	last     time.Time // the newest answer
	of       uint64    // the request that it belongs to
	ofSent   time.Time // when that was sent
	due      time.Time // the next answer; zero: nothing is due
}

// send notes that the next request leaves, and returns its number, from 1 on.
func (s *silence) send(now time.Time) uint64 {
	s.result.Sent++
	at := s.result.Sent % remembered
	s.sent[at], s.answered[at] = now, false
	if s.begun && s.of+1 == s.result.Sent {
		s.due = s.last.Add(now.Sub(s.ofSent))
	}
	return s.result.Sent
}

// answer notes an answer to the request whose lowest 31 bits are number. One that was answered before, or that nobody
// sent, says nothing.
func (s *silence) answer(now time.Time, number uint32) {
	behind := (uint32(s.result.Sent) - number) & maxInt
	if behind >= remembered || uint64(behind) >= s.result.Sent {
		return
	}
	of := s.result.Sent - uint64(behind)
	if s.answered[of%remembered] {
		return
	}
	s.answered[of%remembered] = true
	s.result.Answered++
	s.alive(now, of)
}

// alive ends a silence.
func (s *silence) alive(now time.Time, of uint64) {
	s.until(now)
	s.begun, s.last, s.of, s.ofSent, s.due = true, now, of, s.sent[of%remembered], time.Time{}
	if of < s.result.Sent {
		s.due = now.Add(s.sent[(of+1)%remembered].Sub(s.ofSent))
	}
}

// until counts the silence up to now, if something is due.
func (s *silence) until(now time.Time) {
	if d := now.Sub(s.due); !s.due.IsZero() && d > s.result.Longest {
		s.result.Longest, s.result.LongestEnd = d, now
	}
}

// end is the result of a run: a silence at its end lasts up to the last request.
func (s *silence) end() Result {
	s.until(s.sent[s.result.Sent%remembered])
	return s.result
}
