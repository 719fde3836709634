package probe

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/blackout/outage"
)

// maxStampAge is how old a kernel time stamp may be and still be believed.
const maxStampAge = time.Minute

// clock turns points in time into instants: monotonic time since the run began.
type clock struct {
	start time.Time
	// wall is what the wall clock shows at a point in time, where a test has set it;
	// nil is what it does show.
	wall func(time.Time) time.Time
}

func (c clock) now() time.Duration { return time.Since(c.start) }

// read returns what the wall clock shows, and the instant, of the same moment.
func (c clock) read() (wall time.Time, now time.Duration) {
	t := time.Now()
	return c.shown(t), t.Sub(c.start)
}

// shown is what the wall clock shows, or showed, at a point in time.
func (c clock) shown(t time.Time) time.Time {
	if c.wall != nil {
		t = c.wall(t)
	}
	return t.Round(0)
}

// step returns how far the wall clock has moved against the monotonic clock
// since the run began.
func (c clock) step() time.Duration {
	wall, now := c.read()
	return wall.Sub(c.shown(c.start)) - now
}

// arrival is the instant of a time stamp that the kernel took on the wall
// clock, from its age: now is read on both clocks at once. A stamp from
// the future, or older than notBefore, is of a wall clock that was set
// meanwhile; then ok is false.
func arrival(stamp, wall time.Time, now, notBefore time.Duration) (at time.Duration, ok bool) {
	age := wall.Sub(stamp)
	if age < 0 || age > maxStampAge || now-age < notBefore {
		return 0, false
	}
	return now - age, true
}

// asleepReads is how often the clocks are read at most, see asleep.
const asleepReads = 10

// asleep returns for how long the machine has been suspended since it booted:
// CLOCK_BOOTTIME continues then, CLOCK_MONOTONIC does not. The two are read again when
// this process was kept from running in between: that is no sleep.
func asleep() time.Duration {
	var mono, boot, after unix.Timespec
	for range asleepReads {
		if unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono) != nil ||
			unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) != nil ||
			unix.ClockGettime(unix.CLOCK_MONOTONIC, &after) != nil {
			return 0
		}
		if time.Duration(after.Nano()-mono.Nano()) < outage.LeastFault/10 {
			break
		}
	}
	return time.Duration(boot.Nano() - mono.Nano())
}
