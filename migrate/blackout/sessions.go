package blackout

import "sync"

const (
	// reflectorWindow is how many of a session's newest probes a reflector can
	// tell from duplicates.
	reflectorWindow = 1024
	// sessionsPerGeneration bounds the reflector's memory: two generations of
	// sessions are kept, about 200 bytes each.
	sessionsPerGeneration = 2048
)

// session is what a reflector knows of one sender: how many distinct probes it
// has received. It is shared by the UDP and TCP sides.
type session struct {
	seen  window
	count uint64
}

// sessions is a reflector's bounded table. When the young generation is full
// it becomes the old one, and the old one is forgotten unless it was used
// meanwhile: senders that are alive stay, at a constant cost per probe.
type sessions struct {
	mu         sync.Mutex
	young, old map[uint64]*session
	limit      int
	lastID     uint64
	last       *session
}

func newSessions(limit int) *sessions {
	return &sessions{young: make(map[uint64]*session), limit: limit}
}

// receive counts a probe and returns how many distinct ones its session has
// sent so far, this one included.
func (s *sessions) receive(id, seq uint64) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.last
	if e == nil || id != s.lastID {
		e = s.find(id)
		s.last, s.lastID = e, id
	}
	if e.seen.add(seq) {
		e.count++
	}
	return e.count
}

func (s *sessions) find(id uint64) *session {
	if e := s.young[id]; e != nil {
		return e
	}
	e := s.old[id]
	if e == nil {
		e = &session{seen: newWindow(reflectorWindow)}
	}
	if len(s.young) >= s.limit {
		s.young, s.old = make(map[uint64]*session), s.young
	}
	s.young[id] = e
	return e
}
