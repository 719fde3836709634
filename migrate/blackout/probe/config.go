package probe

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout/endpoint"
	"github.com/vmferry/vmferry/migrate/blackout/outage"
	"github.com/vmferry/vmferry/migrate/blackout/report"
	"github.com/vmferry/vmferry/migrate/blackout/wire"
)

// The defaults of Config's fields.
const (
	DefaultInterval = time.Millisecond
	// DefaultServiceInterval is for runs with a target that is neither udp://
	// nor tcp://: ordinary services are not there to be probed.
	DefaultServiceInterval = 100 * time.Millisecond
	DefaultBucket          = 10 * time.Millisecond
	DefaultReconnectAfter  = 2 * time.Second
	DefaultRetryEvery      = 100 * time.Millisecond
	DefaultConnectTimeout  = time.Second
	DefaultLinger          = 500 * time.Millisecond
	DefaultCheckpoint      = time.Second
	DefaultProgress        = 500 * time.Millisecond
)

const (
	minInterval = 100 * time.Microsecond
	minBucket   = time.Millisecond
	maxBurst    = 1000
	// leastMaxError is the default of MaxError for short intervals.
	leastMaxError = 100 * time.Millisecond
)

// Config is what a run does. Only Targets is required.
type Config struct {
	// Targets are udp://HOST:PORT and tcp://HOST:PORT, which a reflector or an
	// echo service (RFC 862) answers, connect://HOST:PORT, http:// and https://
	// with a path, dns://SERVER[:PORT]/NAME[?type=AAAA] and icmp://HOST. An IPv6
	// address is in brackets. A host name is resolved once.
	Targets []string
	// Family is 4 or 6 to use only that address family; 0 prefers IPv4.
	Family int
	// Interval is the time between two probes to each target, 100 µs to 1 min.
	// 0 means DefaultInterval, or DefaultServiceInterval where a target is an
	// ordinary service.
	Interval time.Duration
	// Burst is how many probes are sent to a datagram target in each interval,
	// at once; 0 means one.
	Burst int
	// Insecure accepts any certificate of https:// targets.
	Insecure bool
	// For ends the run; 0 runs until the context is cancelled.
	For time.Duration
	// Threshold is the least length of an outage that is listed; 0 means three
	// intervals. The longest blackout is reported even when it is shorter.
	Threshold time.Duration
	// MaxError is the largest error that a run may have and still be good; 0
	// means 100 ms or ten intervals, whichever is more. A target that is known
	// less exactly is marked as Inexact.
	MaxError time.Duration
	// ReconnectAfter is how long an established TCP connection may be silent
	// before others are attempted next to it, RetryEvery the time between two
	// attempts, ConnectTimeout how long each may take up to its first answer.
	ReconnectAfter, RetryEvery, ConnectTimeout time.Duration
	// Linger is how long Watch waits for answers after the last probe.
	Linger time.Duration
	// Bucket is the width of a bucket of the series, at least 1 ms; it doubles
	// when there are more than 60000 of them.
	Bucket time.Duration

	// Version and Args are copied into the report.
	Version string
	Args    []string

	// Checkpoint, unless nil, is given the report so far right at the start
	// and then every CheckpointEvery, with Complete false. Progress, unless
	// nil, is given one entry for each target every ProgressEvery; the slice
	// is used again. Both are called from one goroutine that is not the
	// sender's, and may be slow.
	Checkpoint      func(*report.Report)
	CheckpointEvery time.Duration
	Progress        func([]outage.Progress)
	ProgressEvery   time.Duration

	// Wall is what the wall clock shows at a point in time, where a test sets it; nil is what it does show.
	Wall func(time.Time) time.Time
}

// Validate reports the first field that Watch would refuse. It sends nothing
// and resolves no names.
func (c Config) Validate() error {
	_, _, err := c.Complete()
	return err
}

// Complete fills in the defaults and parses the targets. An error is what Watch refuses.
func (c Config) Complete() (Config, []endpoint.Endpoint, error) {
	ends, err := c.targets()
	if err != nil {
		return c, nil, err
	}
	c = c.withDefaults(ends)
	switch {
	case c.Interval < minInterval || c.Interval > wire.MaxInterval:
		err = fmt.Errorf("interval %s is not between %s and %s", c.Interval, minInterval, wire.MaxInterval)
	case c.Bucket < minBucket:
		err = fmt.Errorf("bucket %s is shorter than %s", c.Bucket, minBucket)
	case c.For < 0 || c.Threshold < 0 || c.Linger < 0:
		err = errors.New("a duration is negative")
	case c.ReconnectAfter < 0 || c.RetryEvery < 0 || c.ConnectTimeout < 0:
		err = errors.New("a duration for TCP connections is negative")
	case c.Family != 0 && c.Family != 4 && c.Family != 6:
		err = fmt.Errorf("address family %d is neither 4 nor 6", c.Family)
	case c.Burst < 0 || c.Burst > maxBurst:
		err = fmt.Errorf("burst of %d is not between 1 and %d", c.Burst, maxBurst)
	case c.MaxError < 0:
		err = errors.New("max error is negative")
	case c.CheckpointEvery < 0 || c.ProgressEvery < 0:
		err = errors.New("the time between two reports is negative")
	}
	return c, ends, err
}

// withDefaults fills in the fields that are 0. The interval depends on what is probed.
func (c Config) withDefaults(ends []endpoint.Endpoint) Config {
	interval := DefaultInterval
	if slices.ContainsFunc(ends, func(e endpoint.Endpoint) bool { return !e.Quick() }) {
		interval = DefaultServiceInterval
	}
	c.Interval = cmp.Or(c.Interval, interval)
	c.Burst = cmp.Or(c.Burst, 1)
	c.Threshold = cmp.Or(c.Threshold, 3*c.Interval)
	c.MaxError = cmp.Or(c.MaxError, max(leastMaxError, 10*c.Interval))
	c.Bucket = cmp.Or(c.Bucket, DefaultBucket)
	c.ReconnectAfter = cmp.Or(c.ReconnectAfter, DefaultReconnectAfter)
	c.RetryEvery = cmp.Or(c.RetryEvery, DefaultRetryEvery)
	c.ConnectTimeout = cmp.Or(c.ConnectTimeout, DefaultConnectTimeout)
	c.Linger = cmp.Or(c.Linger, DefaultLinger)
	c.CheckpointEvery = cmp.Or(c.CheckpointEvery, DefaultCheckpoint)
	c.ProgressEvery = cmp.Or(c.ProgressEvery, DefaultProgress)
	return c
}

// targets parses all targets.
func (c Config) targets() ([]endpoint.Endpoint, error) {
	if len(c.Targets) == 0 {
		return nil, errors.New("no target: give udp://HOST:PORT or tcp://HOST:PORT")
	}
	if len(c.Targets) > wire.MaxTargets {
		return nil, fmt.Errorf("%d targets, at most %d", len(c.Targets), wire.MaxTargets)
	}
	seen := make(map[string]bool)
	all := make([]endpoint.Endpoint, 0, len(c.Targets))
	for _, name := range c.Targets {
		e, err := endpoint.Parse(name)
		if err != nil {
			return nil, err
		}
		if seen[name] {
			return nil, fmt.Errorf("target %q is given twice", name)
		}
		seen[name] = true
		all = append(all, e)
	}
	return all, nil
}
