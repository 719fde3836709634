package wait

import (
	"context"
	"time"
)

// For returns nil after d, or the error of ctx as soon as ctx ends. Where ctx has ended already it does not wait.
func For(ctx context.Context, d time.Duration) error {
	if d <= 0 || ctx.Err() != nil {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
