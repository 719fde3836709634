package reflector

import (
	"time"

	"github.com/vmferry/vmferry/migrate/blackout/socket"
	"github.com/vmferry/vmferry/migrate/blackout/wire"
)

// reflectorWindow is how many of a session's newest probes a reflector can
// distinguish from duplicates.
const reflectorWindow = 1024

// session is what a reflector knows of one sender: how many distinct probes it
// has received, and the address and cookies that were found to fit. It is shared
// by the UDP and TCP sides, where both have the same owner.
type session struct {
	place
	seen   wire.Window
	count  uint64
	from   socket.Address
	proofs [2]proof // by epoch
	renew  limiter  // of the challenges to a client whose cookie is about to expire
	pace   limiter
}

// proof is a cookie that fits a sender's address, and the epoch of the key that it
// was made with; see cookieKeys.
type proof struct {
	cookie wire.Cookie
	epoch  uint64
}

// sessions is a reflector's bounded table. It is not safe for concurrent use.
type sessions struct {
	known   map[sender]*session
	places  *places
	last    *session
	lastKey sender
}

// sender is what distinguishes sessions. The same number from another owner is another
// session.
type sender struct {
	id uint64
	owner
}

// newSessions returns a table of at most limit sessions, and of each for one owner.
func newSessions(limit, each int) *sessions {
	return &sessions{known: make(map[sender]*session), places: newPlaces(limit, each)}
}

// look returns a session that is known, or nil.
func (s *sessions) look(key sender) *session {
	if s.last != nil && key == s.lastKey {
		return s.last
	}
	e := s.known[key]
	if e != nil {
		s.last, s.lastKey = e, key
	}
	return e
}

// room reports whether a newcomer would get a place.
func (s *sessions) room(of owner, now time.Duration) bool {
	_, ok := s.places.victim(of, now)
	return ok
}

// find returns a session, making it when there is room; else nil.
func (s *sessions) find(key sender, now time.Duration) *session {
	if e := s.look(key); e != nil {
		return e
	}
	e := &session{seen: wire.NewWindow(reflectorWindow)}
	e.owner, e.evict = key.owner, func() { s.forget(key) }
	if !s.places.take(&e.place, now) {
		return nil
	}
	s.known[key] = e
	s.last, s.lastKey = e, key
	return e
}

func (s *sessions) forget(key sender) {
	delete(s.known, key)
	s.last = nil
}

// receive counts a probe and returns how many distinct ones its session has
// sent so far, this one included.
func (e *session) receive(seq uint64) uint64 {
	if e.seen.Add(seq) {
		e.count++
	}
	return e.count
}

// proven returns the epoch of a cookie that is known to fit; not ok when it is not
// known, or expired.
func (e *session) proven(c wire.Cookie, newest uint64) (epoch uint64, ok bool) {
	for _, p := range e.proofs {
		if p.cookie == c && p.epoch+1 >= newest {
			return p.epoch, true
		}
	}
	return 0, false
}

// prove notes that a cookie fits a sender's address.
func (e *session) prove(from socket.Address, p proof) {
	if e.from != from {
		e.from, e.proofs = from, [2]proof{}
	}
	e.proofs[p.epoch%2] = p
}
