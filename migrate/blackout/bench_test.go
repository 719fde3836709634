package blackout

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"
)

// benchWatcher prepares a run on targets of one reflector on loopback.
func benchWatcher(b *testing.B, targets, burst int) *watcher {
	b.Helper()
	udp, tcp, err := Listen(":0")
	if err != nil {
		b.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(tcp.Addr().String())
	_ = tcp.Close()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	r := NewLimitedReflector(quiet(), Limits{Rate: maxRate, ClientsPerAddress: DefaultClients})
	go func() { done <- r.ServeUDP(ctx, udp) }()
	cfg := Config{Burst: burst, Interval: 10 * time.Millisecond}
	for i := range targets {
		cfg.Targets = append(cfg.Targets, fmt.Sprintf("udp://127.0.%d.%d:%s", 1+i/250, 1+i%250, port))
	}
	w, err := newWatcher(context.Background(), cfg.withDefaults())
	if err != nil {
		b.Fatal(err)
	}
	if err := w.loop.arm(time.Second, time.Second); err != nil { // so that a lost answer ends in an error
		b.Fatal(err)
	}
	b.Cleanup(func() { w.loop.close(); cancel(); <-done })
	return w
}

// round sends one slot, and receives until all of it is answered.
func (w *watcher) round(b *testing.B) {
	for _, p := range w.loop.probers {
		p.tick(w.loop.clock.now(), 0)
		for begun := time.Now(); !p.settled(); {
			if _, err := w.loop.wait(); err != nil || time.Since(begun) > 10*time.Second {
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
			w := benchWatcher(b, c.targets, c.burst)
			w.round(b) // the cookies
			b.ReportAllocs()
			each := c.targets * c.burst
			for i := 0; i < b.N; i += each {
				w.round(b)
			}
		})
	}
}
