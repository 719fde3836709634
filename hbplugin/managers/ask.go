package managers

import (
	"context"
	"time"

	"github.com/vmferry/vmferry/hbplugin/shutdown"
	"github.com/vmferry/vmferry/migrate/wait"
)

// AnswerTime bounds one question to a cluster manager: an answer that takes longer is a finding in itself.
const AnswerTime = 15 * time.Second

// Ask puts one question to a cluster manager, within AnswerTime.
func Ask[T any](ctx context.Context, question func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, AnswerTime)
	defer cancel()
	return question(ctx)
}

// Request asks a cluster manager to do something, within AnswerTime.
func Request(ctx context.Context, do func(context.Context) error) error {
	_, err := Ask(ctx, func(ctx context.Context) (struct{}, error) { return struct{}{}, do(ctx) })
	return err
}

// Poll calls look until it is done or ctx ends, and every so often at most: where a look takes long, less. The last
// look is at end, unless that is zero or has passed.
func Poll(ctx context.Context, every time.Duration, end time.Time, look func() (done bool)) {
	for {
		begun := time.Now()
		if look() {
			return
		}
		next := begun.Add(shutdown.Every(every, time.Since(begun)))
		if begun.Before(end) && next.After(end) {
			next = end
		}
		if wait.For(ctx, time.Until(next)) != nil {
			return
		}
	}
}
