package elsewhere

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/hostproc"
	"github.com/vmferry/vmferry/resource/notes"
)

func newNotes(t *testing.T) notes.Store { return notes.Open(t.TempDir(), "") }

func TestCensus(t *testing.T) {
	const uri = "qemu+tcp://node2/system"
	var now time.Duration
	asked, limits := 0, time.Duration(0)
	var answer error
	c := Census{newNotes(t), func() time.Duration { return now }}
	list := func(ctx context.Context, _ string) ([]libvirt.Resident, error) {
		asked++
		deadline, _ := ctx.Deadline()
		limits = time.Until(deadline).Round(100 * time.Millisecond)
		return []libvirt.Resident{{Name: "vm1", UUID: "5f1a0b52-9a2b-4d0a-8f5e-3a6b7c8d9e0f"}}, answer
	}
	refused, mute := errors.New("connection refused"), context.DeadlineExceeded
	for _, s := range []struct {
		name   string
		at     time.Duration // the uptime
		since  time.Duration // when the start began to look
		answer error
		asks   bool
		limit  time.Duration
		fails  bool
	}{
		{"first", 10 * time.Second, 10 * time.Second, nil, true, peerTime, false},
		{"began before that question", 11 * time.Second, 9 * time.Second, nil, false, 0, false},
		{"began with it", 11 * time.Second, 10 * time.Second, nil, false, 0, false},
		{"began after it", 11 * time.Second, 10*time.Second + 1, nil, true, peerTime, false},
		{"refused", 12 * time.Second, 12 * time.Second, refused, true, peerTime, true},
		{"shares that", 12 * time.Second, 11 * time.Second, nil, false, 0, true},
		{"a refusal costs nothing", 13 * time.Second, 13 * time.Second, nil, true, peerTime, false},
		{"silent", 20 * time.Second, 20 * time.Second, mute, true, peerTime, true},
		{"shares the silence", 22 * time.Second, 20 * time.Second, nil, false, 0, true},
		{"silent still", 22 * time.Second, 22 * time.Second, mute, true, silentTime, true},
		{"answers again", 23 * time.Second, 23 * time.Second, nil, true, silentTime, false},
		{"is trusted again", 24 * time.Second, 24 * time.Second, mute, true, peerTime, true},
		{"short", 53 * time.Second, 53 * time.Second, mute, true, silentTime, true},
		{"and not for longer", 54 * time.Second, 54 * time.Second, mute, true, peerTime, true},
		{"the clock of another boot", 5 * time.Second, 1 * time.Second, nil, true, peerTime, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			before := asked
			now, answer = s.at, s.answer
			guests, err := c.ask(t.Context(), uri, s.since, peerTime, list)
			if (asked > before) != s.asks || (err != nil) != s.fails || err == nil && len(guests) != 1 {
				t.Errorf("%s: asked %v, got %v, %v", s.name, asked > before, guests, err)
			}
			if s.asks && limits != s.limit {
				t.Errorf("%s: gave it %v, want %v", s.name, limits, s.limit)
			}
		})
	}
}

// Many starts at once ask a peer twice at most: the first, and once for all that began while it asked.
func TestCensusOfManyStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		c := Census{newNotes(t), func() time.Duration { return time.Second + time.Since(began) }}
		asked := make(chan bool, 100)
		list := func(ctx context.Context, _ string) ([]libvirt.Resident, error) {
			asked <- true
			<-ctx.Done()
			return nil, ctx.Err()
		}
		done := make(chan time.Duration)
		for i := range 20 {
			go func() {
				time.Sleep(time.Duration(i) * 50 * time.Millisecond)
				from := time.Now()
				_, _ = c.ask(t.Context(), "qemu://node2/system", c.Uptime(), peerTime, list)
				done <- time.Since(from)
			}()
		}
		for range 20 {
			if took := <-done; took > peerTime+silentTime+time.Second {
				t.Errorf("a start waited %v", took)
			}
		}
		if n := len(asked); n > 2 {
			t.Errorf("20 starts asked %d times", n)
		}
	})
}

// A start that was cut short says nothing of the peer.
func TestCensusForgetsWhatWasCutShort(t *testing.T) {
	c := Census{newNotes(t), hostproc.Uptime}
	ctx, cancel := context.WithCancel(t.Context())
	since := hostproc.Uptime()
	_, err := c.ask(ctx, "qemu://node2/system", since, peerTime,
		func(ctx context.Context, _ string) ([]libvirt.Resident, error) { cancel(); return nil, ctx.Err() })
	if err == nil {
		t.Error("a cancelled question was answered")
	}
	if _, err := c.ask(t.Context(), "qemu://node2/system", since, peerTime,
		func(context.Context, string) ([]libvirt.Resident, error) { return nil, nil }); err != nil {
		t.Errorf("the next one got %v", err)
	}
}
