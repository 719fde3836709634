package main

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/blackout"
)

// reflector answers on a port of loopback, UDP and TCP, until the test ends.
func reflector(t *testing.T, log logrus.FieldLogger) string {
	t.Helper()
	udp, tcp, err := blackout.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := blackout.NewReflector(log)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { done <- r.ServeUDP(ctx, udp) }()
	go func() { done <- r.ServeTCP(ctx, tcp) }()
	t.Cleanup(func() { cancel(); <-done; <-done })
	return udp.LocalAddr().String()
}

func TestProbe(t *testing.T) {
	var out bytes.Buffer
	log := logrus.New()
	log.SetOutput(&out)
	address := reflector(t, log)
	nobody, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nobody.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	if seen := startProbe(ctx, log, nil)(true); seen != nil {
		t.Errorf("nothing to watch, and saw %v", seen)
	}
	stop := startProbe(ctx, log, []string{"udp://" + address, "tcp://" + address, "udp://" + nobody.LocalAddr().String()})
	began := time.Now()
	seen := stop(true) // there is always one settle step of probing
	if len(seen) != 2 || seen[0].Target != "udp://"+address || seen[1].Target != "tcp://"+address || seen[0].MS < 0 {
		t.Errorf("saw %+v", seen)
	}
	if took := time.Since(began); took > 2*settleTime+5*time.Second {
		t.Errorf("it took %v", took)
	}
	if !strings.Contains(out.String(), "never answered") {
		t.Errorf("nobody is told of the target without a service: %s", out.String())
	}
}

// A probe that cannot be made is a warning.
func TestProbeThatFails(t *testing.T) {
	var out bytes.Buffer
	log := logrus.New()
	log.SetOutput(&out)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	stop := startProbe(ctx, log, []string{"udp://host.invalid:7"})
	if seen := stop(false); seen != nil || !strings.Contains(out.String(), "not measured") {
		t.Errorf("saw %v, wrote %q", seen, out.String())
	}
}

// Nothing but libvirt sees a guest of Xen, so that nothing is proven without it.
func TestWitnessOf(t *testing.T) {
	if found, err := (blind{}).Find(t.Context(), "vm1", ""); err == nil || found != nil {
		t.Errorf("found %v, %v", found, err)
	}
}
