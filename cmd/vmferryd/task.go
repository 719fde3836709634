package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// A Task is something that lives in the daemon.
type Task interface {
	fmt.Stringer
	// Run lives until ctx ends, which is no error, or until its work is done.
	Run(ctx context.Context) error
	// Ready is closed when the task is fit for work.
	Ready() <-chan struct{}
}

// serve runs the tasks until the first of them ends, then ends the others. When
// all are ready it calls up.
func serve(ctx context.Context, up func(), tasks ...Task) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	for _, t := range tasks {
		group.Go(func() error {
			defer cancel()
			if err := t.Run(ctx); err != nil {
				return fmt.Errorf("%s: %w", t, err)
			}
			return nil
		})
	}
	group.Go(func() error {
		for _, t := range tasks {
			select {
			case <-t.Ready():
			case <-ctx.Done():
				return nil
			}
		}
		up()
		return nil
	})
	return group.Wait()
}

// atOnce is the Ready of a task that needs no time for it.
func atOnce() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// signalTask turns SIGTERM and SIGINT into calls of stop.
type signalTask struct{ stop func() }

func (signalTask) String() string         { return "signals" }
func (signalTask) Ready() <-chan struct{} { return atOnce() }

func (t signalTask) Run(ctx context.Context) error {
	c := make(chan os.Signal, 2)
	signal.Notify(c, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(c)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c:
			t.stop()
		}
	}
}

// watchdogTask tells systemd that the daemon is alive, each time only after
// the drain loop has answered: a loop that hangs ends the pings, and systemd
// starts the daemon again (WatchdogSec= in systemd.service(5)).
type watchdogTask struct {
	every  time.Duration // zero: systemd expects no pings
	alive  func(ctx context.Context) error
	notify func(state string)
}

func (watchdogTask) String() string         { return "watchdog" }
func (watchdogTask) Ready() <-chan struct{} { return atOnce() }

func (t watchdogTask) Run(ctx context.Context) error {
	if t.every <= 0 {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(t.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			t.ping(ctx)
		}
	}
}

// ping passes on one sign of life. No answer within the interval is reported
// by silence: how long that may last is systemd's to decide.
func (t watchdogTask) ping(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, t.every)
	defer cancel()
	if t.alive(ctx) == nil {
		t.notify("WATCHDOG=1")
	}
}
