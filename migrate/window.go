package migrate

import (
	"context"
	"math"
	"time"
)

// verifyLeast is what verifying gets even past the deadline.
const verifyLeast = time.Second

// window is the time that a move has. The zero value has no end.
type window struct {
	deadline time.Time // the context's, or an earlier one that came later; zero without one
	abortAt  time.Time // what is not done by then is aborted; zero without a deadline
}

// reserveOf is the part of a window that aborting and verifying may need.
func reserveOf(window time.Duration) time.Duration {
	return min(max(window/8, 2*time.Second), 10*time.Second)
}

// windowUntil is the window that ends at the deadline, of which the reserve is kept.
func windowUntil(deadline time.Time) window {
	return window{deadline, deadline.Add(-reserveOf(time.Until(deadline)))}
}

// shorten applies a deadline that is earlier than the one so far; ok is false for a later one.
func (w *window) shorten(deadline time.Time) (ok bool) {
	if !w.deadline.IsZero() && !deadline.Before(w.deadline) {
		return false
	}
	*w = windowUntil(deadline)
	return true
}

// before is ctx that ends at abortAt already.
func (w *window) before(ctx context.Context) (context.Context, context.CancelFunc) {
	if w.abortAt.IsZero() {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, w.abortAt)
}

// left is how long until abortAt, without one for ever.
func (w *window) left() time.Duration { return until(w.abortAt) }

// all is how long until the deadline, without one for ever.
func (w *window) all() time.Duration { return until(w.deadline) }

func until(end time.Time) time.Duration {
	if end.IsZero() {
		return math.MaxInt64
	}
	return time.Until(end)
}
