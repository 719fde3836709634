package managers

import (
	"context"
	"time"
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
