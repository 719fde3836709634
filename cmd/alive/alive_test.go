package alive

import (
	"context"
	"errors"
	"testing"
	"time"
)

// Each ping follows an answer: a daemon that answers no more, or late, is not called alive.
func TestPing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	answers, pings := 0, 0
	ping(ctx, time.Millisecond, func(ctx context.Context) error {
		switch answers++; {
		case answers <= 3:
			return nil
		case answers == 4: // too late
			<-ctx.Done()
			return ctx.Err()
		case answers == 10:
			cancel()
		}
		return errors.New("no answer")
	}, func() { pings++ })
	if pings != 3 || answers != 10 {
		t.Errorf("%d pings after %d answers, want 3 after 10", pings, answers)
	}
}

func TestNoPing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ping(ctx, 0, nil, nil)
}
