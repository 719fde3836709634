package outage

import (
	"time"
)

// Calendar turns instants into times of day.
type Calendar struct {
	Start  time.Time
	sleeps []fault
}

// Time is the time of day at an instant. What the machine slept before it has
// passed as well.
func (c Calendar) Time(at time.Duration) time.Time {
	t := c.Start.Add(at)
	for _, s := range c.sleeps {
		if s.start < at {
			t = t.Add(s.length)
		}
	}
	return t
}
