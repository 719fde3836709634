package reflector_test

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/blackout"
	"github.com/vmferry/vmferry/migrate/blackout/reflector"
)

// A watch does not notice that its cookies expire.
func TestAWatchLosesNothingToNewCookies(t *testing.T) {
	log := logrus.New()
	log.SetOutput(io.Discard)
	r := reflector.New(log, reflector.Limits{})
	r.RenewKeysEvery(100 * time.Millisecond)
	udp, tcp, err := reflector.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = tcp.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.ServeUDP(ctx, udp) }()
	report, err := blackout.Watch(t.Context(), blackout.Config{Targets: []string{"udp://" + udp.LocalAddr().String()},
		For: time.Second, Linger: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	turns := r.KeysRenewed()
	got := report.Targets[0]
	if turns < 3 {
		t.Errorf("%d keys in %v", turns, report.End.Sub(report.Start))
	}
	if got.Lost+got.Unsettled+got.LostOut+got.LostBack+got.Duplicates != 0 || got.Answered != got.Sent ||
		got.Instances != 1 {
		t.Errorf("sent %d, answered %d, lost %d (%d out, %d back), %d open, %d twice, %d instances", got.Sent,
			got.Answered,
			got.Lost, got.LostOut, got.LostBack, got.Unsettled, got.Duplicates, got.Instances)
	}
}
