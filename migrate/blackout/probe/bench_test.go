package probe

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout/reflector"
	"github.com/vmferry/vmferry/migrate/blackout/reflector/reflectortest"
)

// benchRun prepares a run on targets of one reflector on loopback.
func benchRun(b *testing.B, targets, burst int) *Run {
	b.Helper()
	udp, tcp, err := reflector.Listen(":0")
	if err != nil {
		b.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(tcp.Addr().String())
	_ = tcp.Close()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	r := reflector.New(reflectortest.Quiet(),
		reflector.Limits{Rate: 10_000_000, ClientsPerAddress: reflector.DefaultClients})
	go func() { done <- r.ServeUDP(ctx, udp) }()
	b.Cleanup(func() { cancel(); <-done })
	var names []string
	for i := range targets {
		names = append(names, fmt.Sprintf("udp://127.0.%d.%d:%s", 1+i/250, 1+i%250, port))
	}
	run := openTargets(b, Config{Burst: burst, Interval: 10 * time.Millisecond}, names...)
	if err := run.loop.arm(time.Second, time.Second); err != nil { // so that a lost answer ends in an error
		b.Fatal(err)
	}
	return run
}

// round sends one slot, and receives until all of it is answered.
func (r *Run) round(b *testing.B) {
	for _, p := range r.loop.probers {
		p.tick(r.loop.clock.now(), 0)
		for begun := time.Now(); !p.idle(); {
			if _, err := r.loop.wait(); err != nil || time.Since(begun) > 10*time.Second {
				b.Fatalf("an answer is missing: %v", err)
			}
		}
	}
}

// BenchmarkRoundTrips is what a probe and its answer cost, reflector and kernel
// and all.
func BenchmarkRoundTrips(b *testing.B) {
	for _, c := range []struct{ targets, burst int }{{1, 1}, {1, 64}, {64, 1}, {1000, 1}} {
		b.Run(fmt.Sprintf("targets=%d/burst=%d", c.targets, c.burst), func(b *testing.B) {
			r := benchRun(b, c.targets, c.burst)
			r.round(b) // the cookies
			b.ReportAllocs()
			each := c.targets * c.burst
			for i := 0; i < b.N; i += each {
				r.round(b)
			}
		})
	}
}
