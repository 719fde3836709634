package resource

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// storageTime bounds what is done to a file beside a guest: storage that hangs must not take the time of what
// matters more.
const storageTime = 5 * time.Second

var errNoStorage = errors.New("the storage gives no answer")

// timely does f, which may hang on storage that gives no answer, where no signal ends it: then f is left behind in its
// goroutine, and the error is errNoStorage. f must not write to what its caller continues to read.
func timely(ctx context.Context, f func() error) error {
	_, err := timelyValue(ctx, func() (struct{}, error) { return struct{}{}, f() })
	return err
}

var leftBehind atomic.Int64

// LeftBehind is how many touches of storage that gives no answer this program has given up waiting for, and that hang
// still. Each keeps a thread, so that a program which lives long must not continue for ever.
func LeftBehind() int { return int(leftBehind.Load()) }

// timelyValue is timely for an f that finds something out.
func timelyValue[T any](ctx context.Context, f func() (T, error)) (T, error) {
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
		return none, fmt.Errorf("%w: %w", errNoStorage, context.Cause(ctx))
	}
}

// tidyTime is far above what a busy disk needs for a small file.
const tidyTime = 2 * time.Second

// briefly is timely for a side job: it takes at most storageTime, and at most half of what ctx has left.
func briefly(ctx context.Context, f func() error) error {
	ctx, cancel := within(ctx, storageTime)
	defer cancel()
	return timely(ctx, f)
}

// within makes a context for a side job: at most limit, and at most half of what ctx has left.
func within(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline)/2)
	}
	return context.WithTimeout(ctx, limit)
}
