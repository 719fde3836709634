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

// Within calls f, which may hang, and leaves it behind at the end of ctx, whose cause is the error then. late, where
// not nil, gets what f returns without an error after that.
func Within[T any](ctx context.Context, f func() (T, error), late func(T)) (value T, err error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result)
	go func() {
		v, err := f()
		select {
		case done <- result{v, err}:
		case <-ctx.Done():
			if err == nil && late != nil {
				late(v)
			}
		}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		return value, context.Cause(ctx)
	}
}
