package timely

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// StorageTime bounds a touch of a file beside a guest: storage that hangs must not take the time of what matters more.
const StorageTime = 5 * time.Second

// ErrNoStorage is the error of work that was left behind.
var ErrNoStorage = errors.New("the storage does not respond")

// Do does f, which may hang on storage that gives no answer, where no signal ends it: then f is left behind in its
// goroutine, and the error is ErrNoStorage. f must not write to what its caller continues to read.
func Do(ctx context.Context, f func() error) error {
	_, err := Get(ctx, func() (struct{}, error) { return struct{}{}, f() })
	return err
}

var leftBehind atomic.Int64

// LeftBehind is how many touches of storage that gives no answer this program has given up waiting for, and that hang
// still. Each keeps a thread, so that a program which lives long must not continue for ever.
func LeftBehind() int { return int(leftBehind.Load()) }

// Get is Do for an f that finds something out.
func Get[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := f()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		leftBehind.Add(1)
		go func() {
			<-done
			leftBehind.Add(-1)
		}()
		var none T
		return none, fmt.Errorf("%w: %w", ErrNoStorage, context.Cause(ctx))
	}
}

// DoBriefly is Do for a side job: it takes at most StorageTime, and at most half of what ctx has left.
func DoBriefly(ctx context.Context, f func() error) error {
	ctx, cancel := Within(ctx, StorageTime)
	defer cancel()
	return Do(ctx, f)
}

// GetBriefly is Get for a side job; see [DoBriefly].
func GetBriefly[T any](ctx context.Context, f func() (T, error)) (T, error) {
	ctx, cancel := Within(ctx, StorageTime)
	defer cancel()
	return Get(ctx, f)
}

// Within makes a context for a side job: at most limit, and at most half of what ctx has left.
func Within(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline)/2)
	}
	return context.WithTimeout(ctx, limit)
}
