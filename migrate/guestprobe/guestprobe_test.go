package guestprobe

import (
	"context"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout"
	"github.com/vmferry/vmferry/migrate/blackout/reflector/reflectortest"
)

// Those that answer are measured, and the one that does not is listed apart, also when
// the move was interrupted.
func TestProbe(t *testing.T) {
	address := reflectortest.Start(t)
	nobody, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer nobody.Close()
	mute := "udp://" + nobody.LocalAddr().String()
	ctx, interrupt := context.WithCancel(t.Context())
	v := Begin(ctx, []string{"udp://" + address, "tcp://" + address, mute})
	interrupt()
	seen, err := v.End(t.Context(), true) // there is always a while of calm to be probed
	if err != nil {
		t.Fatal(err)
	}
	if len(seen.Blackouts) != 2 || seen.Blackouts[0].Target != "udp://"+address || seen.Blackouts[1].Target != "tcp://"+address {
		t.Errorf("saw %+v", seen.Blackouts)
	}
	if !slices.Equal(seen.Mute, []string{mute}) {
		t.Errorf("mute are %q", seen.Mute)
	}
}

// A probe that cannot be made is an error at the end, without any waiting.
func TestProbeThatFails(t *testing.T) {
	v := Begin(t.Context(), []string{"udp://host.invalid:7"})
	if seen, err := v.End(t.Context(), true); err == nil || seen.Blackouts != nil {
		t.Errorf("saw %+v, %v", seen, err)
	}
}

// awaitAnswers ends after a while of calm, and soon enough when there is none.
func TestSettle(t *testing.T) {
	const noisy = 700 * time.Millisecond
	for name, tt := range map[string]struct {
		noise, limit time.Duration // for how long a target is silent; what ctx leaves
		want         time.Duration
	}{
		"calm":             {0, time.Minute, calm},
		"silent at first":  {noisy, time.Minute, noisy + calm},
		"silent for ever":  {time.Hour, time.Minute, settleTime},
		"little time left": {time.Hour, 600 * time.Millisecond, 300 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), tt.limit)
			defer cancel()
			v := &Probe{done: make(chan struct{}), begun: time.Now()}
			go func() {
				for tick := time.NewTicker(step); ctx.Err() == nil; {
					silent := time.Duration(0)
					if time.Since(v.begun) < tt.noise {
						silent = time.Second
					}
					v.hear([]blackout.Progress{{}, {Silent: silent}})
					select {
					case <-tick.C:
					case <-ctx.Done():
					}
				}
			}()
			v.awaitAnswers(ctx)
			if took := time.Since(v.begun); took < tt.want-step || took > tt.want+2*step {
				t.Errorf("%s: it took %s, want %s", name, took, tt.want)
			}
		})
	}
}
