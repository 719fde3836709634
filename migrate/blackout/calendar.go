package blackout

import (
	"time"
)

// calendar turns instants into times of day.
type calendar struct {
	start  time.Time
	sleeps []fault
}

// time is the time of day at an instant. What the machine slept before it has
// passed as well.
func (c calendar) time(at time.Duration) time.Time {
	t := c.start.Add(at)
	for _, s := range c.sleeps {
		if s.start < at {
			t = t.Add(s.length)
		}
	}
	return t
}
