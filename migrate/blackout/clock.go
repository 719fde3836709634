package blackout

import "time"

// maxStampAge is how old a kernel time stamp may be and still be believed.
const maxStampAge = time.Minute

// clock turns points in time into instants: monotonic time since the run began.
type clock struct{ start time.Time }

func (c clock) now() time.Duration { return time.Since(c.start) }

// step returns how far the wall clock has moved against the monotonic clock
// since the run began.
func (c clock) step() time.Duration {
	now := time.Now()
	return now.Round(0).Sub(c.start.Round(0)) - now.Sub(c.start)
}

// arrival is the instant of a time stamp that the kernel took on the wall
// clock, as its age tells: now is read on both clocks at once. A stamp from
// the future, or older than notBefore, is of a wall clock that was set
// meanwhile; then ok is false.
func arrival(stamp, wall time.Time, now, notBefore time.Duration) (at time.Duration, ok bool) {
	age := wall.Round(0).Sub(stamp)
	if age < 0 || age > maxStampAge || now-age < notBefore {
		return 0, false
	}
	return now - age, true
}
