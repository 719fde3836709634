package reflectortest

import (
	"context"
	"io"
	"sync"
	"testing"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/blackout/reflector"
)

// Quiet returns a logger that writes nothing.
func Quiet() logrus.FieldLogger {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return log
}

// Start serves UDP and TCP on a free port of loopback until the test ends, and returns the address.
func Start(tb testing.TB) string {
	tb.Helper()
	return StartAt(tb, "127.0.0.1:0")
}

// StartAt is Start at an address.
func StartAt(tb testing.TB, addr string) string {
	tb.Helper()
	udp, tcp, err := reflector.Listen(addr)
	if err != nil {
		tb.Fatal(err)
	}
	r := reflector.New(Quiet(), reflector.Limits{})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, serve := range []func() error{
		func() error { return r.ServeUDP(ctx, udp) },
		func() error { return r.ServeTCP(ctx, tcp) },
	} {
		wg.Go(func() {
			if err := serve(); err != nil {
				tb.Errorf("reflector: %v", err)
			}
		})
	}
	tb.Cleanup(func() { cancel(); wg.Wait() })
	return tcp.Addr().String()
}
