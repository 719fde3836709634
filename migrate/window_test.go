package migrate

import (
	"math"
	"testing"
	"testing/synctest"
	"time"
)

func TestWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w window
		if w.left() != math.MaxInt64 || w.all() != math.MaxInt64 {
			t.Errorf("without a deadline %v and %v are left", w.left(), w.all())
		}
		if ctx, cancel := w.before(t.Context()); ctx.Err() != nil {
			t.Error("it has ended")
		} else {
			cancel()
		}
		for _, c := range []struct {
			in        time.Duration
			ok        bool
			left, all time.Duration
		}{
			{time.Minute, true, 52500 * time.Millisecond, time.Minute},
			{2 * time.Minute, false, 52500 * time.Millisecond, time.Minute},
			{8 * time.Second, true, 6 * time.Second, 8 * time.Second},
			{-time.Second, true, -3 * time.Second, -time.Second},
		} {
			if ok := w.shorten(time.Now().Add(c.in)); ok != c.ok || w.left() != c.left || w.all() != c.all {
				t.Errorf("shortened to %v: %t, %v before the abort, %v in all", c.in, ok, w.left(), w.all())
			}
		}
		if ctx, cancel := w.before(t.Context()); ctx.Err() == nil {
			t.Error("it has not ended")
		} else {
			cancel()
		}
	})
}
