package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/blackout"
	"github.com/vmferry/vmferry/migrate/blackout/probe"
	"github.com/vmferry/vmferry/migrate/plaintext"
	"github.com/vmferry/vmferry/migrate/version"
)

// watchOptions are the flags of watch that do not belong to the library.
type watchOptions struct {
	files
	metrics     string
	quiet, live bool
	maxBlackout time.Duration
	limited     bool // --max-blackout was given
}

// watch measures and reports.
func watch(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	cfg, opts, err := watchFlags(args)
	if err != nil {
		return err
	}
	log := logrus.New()
	log.SetOutput(plaintext.Writer{To: stderr})
	if err := opts.check(); err != nil {
		return err
	}
	if opts.toFile() {
		cfg.Checkpoint = func(r *blackout.Report) {
			if err := r.WriteFile(opts.json); err != nil {
				log.WithError(err).Warn("cannot write the report so far")
			}
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if cfg.Progress, err = opts.progress(ctx, stderr, log); err != nil {
		return err
	}
	report, err := blackout.Watch(ctx, cfg)
	if err != nil {
		return err
	}
	if err := opts.publish(report, stdout); err != nil {
		return err
	}
	return opts.verdict(report)
}

// progress takes the state of all targets while a run continues.
type progress = func([]blackout.Progress)

// progress returns what takes the state of the run while it continues; nil when
// nobody wants it.
func (o watchOptions) progress(ctx context.Context, stderr io.Writer, log logrus.FieldLogger) (progress, error) {
	var takers []progress
	if o.live || !o.quiet && isTerminal(stderr) {
		takers = append(takers, newLive(stderr))
	}
	if o.metrics != "" {
		set, err := serveMetrics(ctx, o.metrics, log)
		if err != nil {
			return nil, err
		}
		takers = append(takers, set)
	}
	if len(takers) == 0 {
		return nil, nil
	}
	return func(state []blackout.Progress) {
		for _, take := range takers {
			take(state)
		}
	}, nil
}

// watchFlags turns the command line into what the library wants.
func watchFlags(args []string) (blackout.Config, watchOptions, error) {
	cfg := blackout.Config{Version: version.String(), Args: args, ProgressEvery: liveEvery}
	var opts watchOptions
	fs := flag.NewFlagSet("watch", flag.ContinueOnError)
	fs.DurationVar(&cfg.Interval, "interval", 0, "")
	four := fs.Bool("4", false, "")
	six := fs.Bool("6", false, "")
	fs.IntVar(&cfg.Burst, "burst", 1, "")
	fs.DurationVar(&cfg.MaxError, "max-error", 0, "")
	fs.BoolVar(&cfg.Insecure, "insecure", false, "")
	fs.DurationVar(&cfg.For, "for", 0, "")
	fs.DurationVar(&cfg.Threshold, "threshold", 0, "")
	fs.DurationVar(&cfg.Bucket, "bucket", probe.DefaultBucket, "")
	fs.DurationVar(&cfg.ReconnectAfter, "reconnect-after", probe.DefaultReconnectAfter, "")
	fs.DurationVar(&cfg.RetryEvery, "retry-every", probe.DefaultRetryEvery, "")
	fs.DurationVar(&cfg.ConnectTimeout, "connect-timeout", probe.DefaultConnectTimeout, "")
	fs.DurationVar(&cfg.Linger, "linger", probe.DefaultLinger, "")
	fs.DurationVar(&opts.maxBlackout, "max-blackout", 0, "")
	fs.StringVar(&opts.json, "json", "", "")
	fs.StringVar(&opts.html, "html", "", "")
	fs.StringVar(&opts.csv, "csv", "", "")
	fs.StringVar(&opts.metrics, "metrics", "", "")
	fs.BoolVar(&opts.quiet, "quiet", false, "")
	fs.BoolVar(&opts.live, "live", false, "")
	targets, err := parse(fs, args)
	if err != nil {
		return cfg, opts, err
	}
	cfg.Targets = targets
	given := make(map[string]bool)
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	opts.limited = given["max-blackout"]
	if cfg.Family, err = family(*four, *six); err != nil {
		return cfg, opts, err
	}
	if err := positive(fs); err != nil {
		return cfg, opts, err
	}
	if err := cfg.Validate(); err != nil {
		return cfg, opts, misuse("watch: %w", err)
	}
	return cfg, opts, nil
}

func family(four, six bool) (int, error) {
	switch {
	case four && six:
		return 0, misuse("watch: -4 and -6 exclude each other")
	case four:
		return 4, nil
	case six:
		return 6, nil
	}
	return 0, nil
}

// publish writes the final report to where it belongs.
func (o watchOptions) publish(r *blackout.Report, stdout io.Writer) error {
	if err := o.write(r, nil); err != nil {
		return err
	}
	if o.json == "-" {
		return r.Write(stdout)
	}
	if o.quiet {
		return nil
	}
	return r.WriteTable(stdout)
}

// verdict turns what was measured into the exit code.
func (o watchOptions) verdict(r *blackout.Report) error {
	limit := float64(o.maxBlackout) / float64(time.Millisecond)
	for _, t := range r.Targets {
		switch ms, within := longestPossible(t); {
		case o.limited && t.BlackoutMs > limit:
			return exceeded("%s: blackout of %.1f ms, limit %.1f ms", t.Target, t.BlackoutMs, limit)
		case o.limited && ms+within > limit && ms > 0:
			return exceeded("%s: blackout of %.1f ms ± %.1f may have been above the limit of %.1f ms",
				t.Target, ms, within, limit)
		case o.limited && ms+within > limit:
			return exceeded("%s: the probe's own error of %.1f ms is above the limit of %.1f ms: nothing is proven",
				t.Target, within, limit)
		}
	}
	for _, t := range r.Targets {
		if t.Inexact {
			return exceeded("%s: the probe's own error was up to %.1f ms, more than the %.1f ms of --max-error",
				t.Target, max(t.ErrorMs, t.WorstErrorMs), r.MaxErrorMs)
		}
	}
	for _, t := range r.Targets {
		if t.Answered == 0 {
			return fmt.Errorf("%s: never answered", t.Target)
		}
	}
	return nil
}

// longestPossible is the outage that may truly have been the longest, with its error;
// or none, and the length of one that may have been missed.
func longestPossible(t blackout.Target) (ms, within float64) {
	within = t.WorstErrorMs
	for _, o := range t.Outages {
		if o.Ms+o.ErrorMs > ms+within {
			ms, within = o.Ms, o.ErrorMs
		}
	}
	if t.BlackoutMs+t.ErrorMs > ms+within { // it may be too short to be listed
		ms, within = t.BlackoutMs, t.ErrorMs
	}
	return ms, within
}
