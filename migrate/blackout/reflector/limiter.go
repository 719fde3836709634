package reflector

import (
	"sync"
	"time"
)

// logLimiter lets one of many messages through in a while.
type logLimiter struct {
	every time.Duration
	mu    sync.Mutex
	pace  limiter
	n     int
}

// more counts a message, and reports whether it is to be logged, and how many it
// represents.
func (s *logLimiter) more(now time.Duration) (n int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	if !s.pace.take(now, s.every, 0) {
		return 0, false
	}
	n, s.n = s.n, 0
	return n, true
}

// limiter keeps something to a rate: the instant up to which the past has used it
// (the generic cell rate algorithm, ITU-T I.371).
type limiter struct{ used time.Duration }

// take reports whether one more at an instant keeps a gap between any two on
// average, where slack of time may be saved up.
func (p *limiter) take(now, gap, slack time.Duration) bool {
	used := max(p.used, now) + gap
	if used-now > slack+gap {
		return false
	}
	p.used = used
	return true
}
