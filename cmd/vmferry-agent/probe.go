package main

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/blackout"
)

const (
	// settleTime is how long the probe goes on at most after a guest has moved, so that an outage that
	// the move made has its end. It is taken from what is left after the migration.
	settleTime = 2 * time.Second
	settleStep = 100 * time.Millisecond
	// answering is the longest silence of a target that counts as answering.
	answering = 20 * time.Millisecond
)

// probe watches targets while a guest moves.
type probe struct {
	log    logrus.FieldLogger
	silent atomic.Bool // a target is without an answer just now
}

// startProbe probes the targets until the returned function is called, which gives what was seen of
// each that answered at all. moved lets it wait for the answers of the guest at its new
// place first. What goes wrong is logged: a probe never fails a migration.
func startProbe(ctx context.Context, log logrus.FieldLogger, targets []string) (stop func(moved bool) []migrate.Blackout) {
	if len(targets) == 0 {
		return func(bool) []migrate.Blackout { return nil }
	}
	p := &probe{log: log}
	run, cancel := context.WithCancel(ctx)
	done := make(chan *blackout.Report, 1)
	go func() {
		report, err := blackout.Watch(run, blackout.Config{
			Targets: targets, Log: log, Linger: settleStep, Progress: p.hear, ProgressEvery: settleStep / 2,
		})
		if err != nil {
			log.WithError(err).Warn("the blackout of this migration is not measured")
		}
		done <- report // nil with an error
	}()
	return func(moved bool) []migrate.Blackout {
		if moved {
			p.settle(ctx)
		}
		cancel()
		return p.blackouts(<-done)
	}
}

func (p *probe) hear(targets []blackout.Progress) {
	p.silent.Store(slices.ContainsFunc(targets, func(t blackout.Progress) bool { return t.Silent > answering }))
}

// settle waits until all targets answer, but for no more than half of the time that is left.
func (p *probe) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, settleWait(ctx))
	defer cancel()
	tick := time.NewTicker(settleStep)
	defer tick.Stop()
	for calm := 0; calm < 2; calm++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if p.silent.Load() {
			calm = -1
		}
	}
}

func settleWait(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return min(settleTime, time.Until(deadline)/2)
	}
	return settleTime
}

// blackouts leaves out targets that never answered: there is no echo service, and that is no blackout.
func (p *probe) blackouts(report *blackout.Report) []migrate.Blackout {
	if report == nil {
		return nil
	}
	var seen []migrate.Blackout
	for _, t := range report.Targets {
		if t.Answered == 0 {
			p.log.Warnf("watch: %s never answered: is the echo service of blackout(1) running in the guest", t.Target)
			continue
		}
		seen = append(seen, migrate.Blackout{Target: t.Target, MS: t.BlackoutMs, ErrorMS: t.ErrorMs})
		p.log.Infof("clients of %s were without an answer for %.1f ms (give or take %.1f ms)", t.Target, t.BlackoutMs, t.ErrorMs)
	}
	return seen
}
