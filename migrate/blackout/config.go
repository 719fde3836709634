package blackout

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

const (
	protoUDP = "udp"
	protoTCP = "tcp"
)

// The values that a zero field of Config stands for.
const (
	DefaultInterval       = time.Millisecond
	DefaultBucket         = 10 * time.Millisecond
	DefaultReconnectAfter = 2 * time.Second
	DefaultRetryEvery     = 100 * time.Millisecond
	DefaultConnectTimeout = time.Second
	DefaultLinger         = 500 * time.Millisecond
	DefaultCheckpoint     = 3 * time.Second
	DefaultProgress       = 500 * time.Millisecond
)

const (
	minInterval = 100 * time.Microsecond
	maxInterval = time.Minute
	minBucket   = time.Millisecond
	maxTargets  = 256
)

// Config says what Watch does. Only Targets is required.
type Config struct {
	// Targets are udp://HOST:PORT and tcp://HOST:PORT; an IPv6 address stands
	// in brackets. A host name is resolved once, IPv4 first.
	Targets []string
	// Interval is the time between two probes to each target, 100 µs to 1 min.
	Interval time.Duration
	// For ends the run; 0 runs until the context is cancelled.
	For time.Duration
	// Threshold is the least length of an outage that is listed; 0 means three
	// intervals. The longest blackout is reported even when it is shorter.
	Threshold time.Duration
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
}

// Progress is the state of a target while a run goes on.
type Progress struct {
	Target         string
	Sent, Answered uint64
	Outages        int
	// Silent is how long an answer is overdue, 0 when none is; Blackout is the
	// longest outage so far, an open one included.
	Silent, Blackout time.Duration
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
		{&c.Interval, DefaultInterval},
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
	if c.Log == nil {
		log := logrus.New()
		log.SetLevel(logrus.PanicLevel)
		c.Log = log
	}
	return c
}

// endpoint is a parsed target.
type endpoint struct {
	name, proto, host string
	port              uint16
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

// parseTarget splits udp://HOST:PORT or tcp://HOST:PORT.
func parseTarget(name string) (endpoint, error) {
	proto, rest, ok := strings.Cut(name, "://")
	if !ok || proto != protoUDP && proto != protoTCP {
		return endpoint{}, fmt.Errorf("target %q does not start with udp:// or tcp://", name)
	}
	host, port, err := net.SplitHostPort(rest)
	if err != nil || host == "" {
		return endpoint{}, fmt.Errorf("target %q is not %s://HOST:PORT", name, proto)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return endpoint{}, fmt.Errorf("target %q: port %q is not between 1 and 65535", name, port)
	}
	return endpoint{name: name, proto: proto, host: host, port: uint16(n)}, nil
}

// resolve finds the address of an endpoint, IPv4 first.
func (e endpoint) resolve(ctx context.Context) (unix.Sockaddr, error) {
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", e.host)
	if err != nil {
		return nil, fmt.Errorf("resolve target %q: %w", e.name, err)
	}
	best := addrs[0].Unmap()
	for _, a := range addrs {
		if a = a.Unmap(); a.Is4() {
			best = a
			break
		}
	}
	sa, err := sockaddr(netip.AddrPortFrom(best, e.port))
	if err != nil {
		return nil, fmt.Errorf("resolve target %q: %w", e.name, err)
	}
	return sa, nil
}

func sockaddr(a netip.AddrPort) (unix.Sockaddr, error) {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}, nil
	}
	sa := &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	if zone := a.Addr().Zone(); zone != "" {
		link, err := net.InterfaceByName(zone)
		if err != nil {
			return nil, fmt.Errorf("interface %q: %w", zone, err)
		}
		sa.ZoneId = uint32(link.Index)
	}
	return sa, nil
}
