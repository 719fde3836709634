package managers

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var looks []time.Duration
		Poll(t.Context(), time.Second, began.Add(2500*time.Millisecond), func() bool {
			looks = append(looks, time.Since(began))
			return len(looks) == 5
		})
		want := []time.Duration{0, time.Second, 2 * time.Second, 2500 * time.Millisecond, 3500 * time.Millisecond}
		if !slices.Equal(looks, want) {
			t.Errorf("looked at %v, want %v", looks, want)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		n, began := 0, time.Now()
		Poll(ctx, time.Second, time.Time{}, func() bool {
			time.Sleep(time.Second) // of the bubble's clock
			n++
			return false
		})
		if took := time.Since(began); took > 91*time.Second || n > 20 {
			t.Errorf("%d slow looks in %v", n, took)
		}
	})
}
