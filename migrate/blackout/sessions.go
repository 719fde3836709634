package blackout

import (
	"sync"
	"time"
)

// reflectorWindow is how many of a session's newest probes a reflector can
// tell from duplicates.
const reflectorWindow = 1024

// session is what a reflector knows of one sender: how many distinct probes it
// has received, and the address and cookie that were found to fit. It is shared
// by the UDP and TCP sides.
type session struct {
	seen   window
	count  uint64
	from   rawAddress
	cookie cookie
	pace   pace
}

// sessions is a reflector's bounded table. When the young generation is full
// it becomes the old one, and the old one is forgotten unless it was used
// meanwhile: senders that are alive stay, at a constant cost per probe.
type sessions struct {
	mu         sync.Mutex
	young, old map[uint64]*session
	limit      int
	born       time.Duration // when the young generation began
	// least is the least age of a generation: new senders are turned away while
	// it is younger, or else they could push out those that are alive.
	least  time.Duration
	lastID uint64
	last   *session
}

// newSessions returns a table of at most twice limit sessions.
func newSessions(limit int, least time.Duration) *sessions {
	return &sessions{young: make(map[uint64]*session), limit: limit, least: least}
}

// receive counts a probe and returns how many distinct ones its session has
// sent so far, this one included; not ok when it sends too fast, or when there
// is no room for another sender.
func (s *sessions) receive(id, seq uint64, now time.Duration, gap, slack time.Duration) (uint64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.find(id, now)
	if e == nil || !e.pace.take(now, gap, slack) {
		return 0, false
	}
	return e.countOnce(seq), true
}

func (e *session) countOnce(seq uint64) uint64 {
	if e.seen.add(seq) {
		e.count++
	}
	return e.count
}

// proven reports whether a cookie is known to fit a sender's address.
func (s *sessions) proven(id uint64, from rawAddress, c cookie) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.look(id)
	return e != nil && e.cookie == c && e.from == from
}

// prove notes that a cookie fits a sender's address.
func (s *sessions) prove(id uint64, from rawAddress, c cookie, now time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.find(id, now); e != nil {
		e.from, e.cookie = from, c
	}
}

// look returns a session that is known, or nil.
func (s *sessions) look(id uint64) *session {
	if s.last != nil && id == s.lastID {
		return s.last
	}
	if e := s.young[id]; e != nil {
		return e
	}
	return s.old[id]
}

// find returns a session, making it when there is room.
func (s *sessions) find(id uint64, now time.Duration) *session {
	if s.last != nil && id == s.lastID {
		return s.last
	}
	e := s.young[id]
	if e == nil {
		if e = s.old[id]; e == nil {
			if len(s.young) >= s.limit && now-s.born < s.least {
				return nil
			}
			e = &session{seen: newWindow(reflectorWindow)}
		}
		s.remember(id, e, now)
	}
	s.last, s.lastID = e, id
	return e
}

// remember puts a session into the young generation.
func (s *sessions) remember(id uint64, e *session, now time.Duration) {
	if len(s.young) >= s.limit {
		s.young, s.old, s.born = make(map[uint64]*session), s.young, now
	}
	s.young[id] = e
}

// pace keeps something to a rate: the instant up to which the past has used it
// (the generic cell rate algorithm, ITU-T I.371).
type pace struct{ used time.Duration }

// take reports whether one more at an instant keeps a gap between any two on
// average, where slack of time may be saved up.
func (p *pace) take(now, gap, slack time.Duration) bool {
	used := max(p.used, now) + gap
	if used-now > slack+gap {
		return false
	}
	p.used = used
	return true
}
