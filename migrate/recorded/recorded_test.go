package recorded

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/blackout/reflector"
	"github.com/vmferry/vmferry/migrate/guestprobe"
	"github.com/vmferry/vmferry/migrate/record"
)

// reflect is a target that answers until the test ends.
func reflect(t *testing.T, log logrus.FieldLogger) (target string) {
	t.Helper()
	udp, tcp, err := reflector.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- reflector.New(log, reflector.Limits{}).ServeUDP(ctx, udp) }()
	t.Cleanup(func() { cancel(); <-done; _ = tcp.Close() })
	return "udp://" + udp.LocalAddr().String()
}

// What a probe saw is told, and so is what it could not see.
func TestBlackouts(t *testing.T) {
	var out bytes.Buffer
	log := logrus.New()
	log.SetOutput(&out)
	target := reflect(t, log)

	moves := Moves{Log: log}
	rec := record.Record{Outcome: record.Moved}
	moves.Judge(t.Context(), guestprobe.Begin(t.Context(), []string{target}), &rec)
	if seen := rec.Blackouts; len(seen) != 1 || seen[0].Target != target {
		t.Errorf("saw %+v", seen)
	}
	if !strings.Contains(out.String(), "clients of "+target) {
		t.Errorf("nobody is told what clients saw: %s", out.String())
	}
	rec = record.Record{Outcome: record.Stayed}
	moves.Judge(t.Context(), guestprobe.Begin(t.Context(), []string{"udp://host.invalid:7"}), &rec)
	if rec.Blackouts != nil {
		t.Errorf("saw %+v of no host", rec.Blackouts)
	}
	if !strings.Contains(out.String(), "not measured") {
		t.Errorf("nobody is told that nothing was measured: %s", out.String())
	}
}

// By hand the blackout is measured to its end, also where the time for the migration is over.
func TestByHand(t *testing.T) {
	log := logrus.New()
	log.SetOutput(new(bytes.Buffer))
	target := reflect(t, log)
	over, interrupt := context.WithTimeout(t.Context(), time.Hour)
	interrupt()
	rec := record.Record{Outcome: record.Moved}
	probe := guestprobe.Begin(t.Context(), []string{target})
	Moves{Log: log, ByHand: true}.Judge(over, probe, &rec)
	if len(rec.Blackouts) != 1 {
		t.Errorf("saw %+v after an interrupt", rec.Blackouts)
	}
}
