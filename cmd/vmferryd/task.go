package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vmferry/vmferry/cmd/alive"
)

// task is something that lives in the daemon.
type task struct {
	name  string
	run   func(ctx context.Context) error // until ctx ends, which is no error, or until its work is done
	ready <-chan struct{}                 // closed when the task is fit for work; nil where it needs no time for that
}

// serve runs the tasks until the first of them ends, then ends the others. When
// all are ready it calls up.
func serve(ctx context.Context, up func(), tasks ...task) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	for _, t := range tasks {
		group.Go(func() error {
			defer cancel()
			if err := t.run(ctx); err != nil {
				return fmt.Errorf("%s: %w", t.name, err)
			}
			return nil
		})
	}
	group.Go(func() error {
		for _, t := range tasks {
			if t.ready == nil {
				continue
			}
			select {
			case <-t.ready:
			case <-ctx.Done():
				return nil
			}
		}
		up()
		return nil
	})
	return group.Wait()
}

// signals turns SIGTERM and SIGINT into calls of stop.
func signals(stop func()) task {
	return task{name: "signals", run: func(ctx context.Context) error {
		c := make(chan os.Signal, 2)
		signal.Notify(c, syscall.SIGTERM, syscall.SIGINT)
		defer signal.Stop(c)
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-c:
				stop()
			}
		}
	}}
}

// watchdog has systemd start the daemon again when the drain loop does not answer: see [alive.Ping].
func watchdog(every time.Duration, answers func(ctx context.Context) error) task {
	return task{name: "watchdog", run: func(ctx context.Context) error { alive.Ping(ctx, every, answers); return nil }}
}
