package blackout

import (
	"errors"
	"fmt"
	"time"

	"github.com/sirupsen/logrus"
)

// The values that a zero field of Config stands for.
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
	maxInterval = time.Minute
	minBucket   = time.Millisecond
	maxTargets  = 4096
	maxBurst    = 1000
	// leastMaxError is the default of MaxError for short intervals.
	leastMaxError = 100 * time.Millisecond
)

// Config says what Watch does. Only Targets is required.
type Config struct {
	// Targets are udp://HOST:PORT and tcp://HOST:PORT, which a reflector or an
	// echo service (RFC 862) answers, connect://HOST:PORT, http:// and https://
	// with a path, dns://SERVER[:PORT]/NAME[?type=AAAA] and icmp://HOST. An IPv6
	// address stands in brackets. A host name is resolved once.
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
	Checkpoint      func(*Report)
	CheckpointEvery time.Duration
	Progress        func([]Progress)
	ProgressEvery   time.Duration

	// Log takes what does not belong into the report; nil discards it.
	Log logrus.FieldLogger

	wall func(time.Time) time.Time // see clock
}

// Progress is the state of a target while a run goes on.
type Progress struct {
	Target         string
	Sent, Answered uint64
	// Lost were not answered and are settled: a later one was.
	Lost    uint64
	Outages int
	// RTT is the newest round trip.
	RTT time.Duration
	// Silent is how long an answer is overdue, 0 when none is; Blackout is the
	// longest outage so far, Dark the length of all; both with an open one.
	Silent, Blackout, Dark time.Duration
}

// Validate reports the first field that Watch would refuse. It sends nothing
// and resolves no names.
func (c Config) Validate() error {
	_, err := c.targets()
	if err != nil {
		return err
	}
	c = c.withDefaults()
	switch {
	case c.Interval < minInterval || c.Interval > maxInterval:
		return fmt.Errorf("interval %s is not between %s and %s", c.Interval, minInterval, maxInterval)
	case c.Bucket < minBucket:
		return fmt.Errorf("bucket %s is shorter than %s", c.Bucket, minBucket)
	case c.For < 0 || c.Threshold < 0 || c.Linger < 0:
		return errors.New("a duration is negative")
	case c.ReconnectAfter < 0 || c.RetryEvery < 0 || c.ConnectTimeout < 0:
		return errors.New("a duration for TCP connections is negative")
	case c.Family != 0 && c.Family != 4 && c.Family != 6:
		return fmt.Errorf("address family %d is neither 4 nor 6", c.Family)
	case c.Burst < 0 || c.Burst > maxBurst:
		return fmt.Errorf("burst of %d is not between 1 and %d", c.Burst, maxBurst)
	case c.MaxError < 0:
		return errors.New("the largest error is negative")
	case c.CheckpointEvery < 0 || c.ProgressEvery < 0:
		return errors.New("a duration between two reports is negative")
	}
	return nil
}

func (c Config) withDefaults() Config {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&c.Interval, c.defaultInterval()},
		{&c.Bucket, DefaultBucket},
		{&c.ReconnectAfter, DefaultReconnectAfter},
		{&c.RetryEvery, DefaultRetryEvery},
		{&c.ConnectTimeout, DefaultConnectTimeout},
		{&c.Linger, DefaultLinger},
		{&c.CheckpointEvery, DefaultCheckpoint},
		{&c.ProgressEvery, DefaultProgress},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if c.Threshold == 0 {
		c.Threshold = 3 * c.Interval
	}
	if c.MaxError == 0 {
		c.MaxError = max(leastMaxError, 10*c.Interval)
	}
	c.Burst = max(c.Burst, 1)
	if c.Log == nil {
		log := logrus.New()
		log.SetLevel(logrus.PanicLevel)
		c.Log = log
	}
	return c
}

// defaultInterval depends on what is probed.
func (c Config) defaultInterval() time.Duration {
	ends, _ := c.targets()
	for _, e := range ends {
		if !e.quick() {
			return DefaultServiceInterval
		}
	}
	return DefaultInterval
}

func (c Config) targets() ([]endpoint, error) {
	if len(c.Targets) == 0 {
		return nil, errors.New("no target: give udp://HOST:PORT or tcp://HOST:PORT")
	}
	if len(c.Targets) > maxTargets {
		return nil, fmt.Errorf("%d targets, more than %d", len(c.Targets), maxTargets)
	}
	seen := make(map[string]bool)
	all := make([]endpoint, 0, len(c.Targets))
	for _, name := range c.Targets {
		e, err := parseTarget(name)
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
