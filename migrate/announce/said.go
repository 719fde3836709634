package announce

import "sync"

// maxSaid bounds the memory of a Said. What was said before is said again after that many.
const maxSaid = 4096

// Said remembers what was logged, so that it is logged once. The zero value and nil have said nothing; nil forgets.
// It may be used by several goroutines at once.
type Said struct {
	mu  sync.Mutex
	all map[string]bool
}

// first tells whether a text was not said before.
func (s *Said) first(text string) bool {
	if s == nil {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all[text] {
		return false
	}
	if s.all == nil || len(s.all) >= maxSaid {
		s.all = map[string]bool{}
	}
	s.all[text] = true
	return true
}
