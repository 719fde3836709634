package reflector

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/sirupsen/logrus"
)

// background runs f until the test ends and waits for it.
func background(t *testing.T, f func(ctx context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { f(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
}

func quiet() logrus.FieldLogger {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return log
}

// startReflector serves on a free port of loopback until the test ends.
func startReflector(t *testing.T) string { return startReflectorAt(t, "127.0.0.1:0") }

func startReflectorAt(t *testing.T, addr string) string {
	t.Helper()
	return serveReflector(t, addr, New(quiet(), Limits{}))
}

func serveReflector(t *testing.T, addr string, r *Reflector) string {
	t.Helper()
	udp, tcp, err := Listen(addr)
	if err != nil {
		t.Fatal(err)
	}
	background(t, func(ctx context.Context) {
		if err := r.ServeUDP(ctx, udp); err != nil {
			t.Errorf("ServeUDP: %v", err)
		}
	})
	background(t, func(ctx context.Context) {
		if err := r.ServeTCP(ctx, tcp); err != nil {
			t.Errorf("ServeTCP: %v", err)
		}
	})
	return tcp.Addr().String()
}

func reset(conn net.Conn) {
	_ = conn.(*net.TCPConn).SetLinger(0)
	_ = conn.Close()
}
