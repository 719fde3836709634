package probe

import (
	"context"
	"io"
	"testing"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/blackout/reflector"
)

func quiet() logrus.FieldLogger {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return log
}

// startReflector serves on a free port of loopback until the test ends.
func startReflector(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	udp, tcp, err := reflector.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r, done := reflector.New(quiet(), reflector.Limits{}), make(chan error, 2)
	go func() { done <- r.ServeUDP(ctx, udp) }()
	go func() { done <- r.ServeTCP(ctx, tcp) }()
	t.Cleanup(func() {
		cancel()
		for range cap(done) {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	return tcp.Addr().String()
}
