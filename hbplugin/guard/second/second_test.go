package second

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
)

// A process asks whether another one has a role, and takes none by that.
func TestRuns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page")
	guard, err := OpenPage(path, Guard)
	if err != nil {
		t.Fatal(err)
	}
	defer guard.Close()
	for range 2 {
		if guard.Runs(Second) {
			t.Error("a second that was not started runs")
		}
		second, err := OpenPage(path, Second)
		if err != nil {
			t.Fatal(err)
		}
		if !guard.Runs(Second) || !second.Runs(Guard) {
			t.Error("the second or the guard does not run")
		}
		if err := second.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestPage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page")
	guard, err := OpenPage(path, Guard)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenPage(path, Guard); !errors.Is(err, ErrBusy) {
		t.Errorf("a second guard: %v", err)
	}
	other, err := OpenPage(path, Second)
	if err != nil {
		t.Fatal(err)
	}
	if other.Until() != 0 {
		t.Errorf("a new page says %s", other.Until())
	}
	guard.Leased(5*time.Second, 2*time.Second, 7)
	if good, generation := other.Good(); other.Until() != 5*time.Second || good != 2*time.Second || generation != 7 {
		t.Errorf("%s, %s, %d", other.Until(), good, generation)
	}
	if err := guard.Close(); err != nil {
		t.Fatal(err)
	}
	next, err := OpenPage(path, Guard)
	if err != nil {
		t.Fatalf("the next guard: %v", err)
	}
	if next.Until() != 5*time.Second {
		t.Errorf("the next guard reads %s", next.Until())
	}
	if next.Released(); other.Until() != 0 {
		t.Errorf("released, and %s", other.Until())
	}
	_, _ = next.Close(), other.Close()
}

func TestWatch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page")
	p, err := OpenPage(path, Second)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		now := func() time.Duration { return time.Hour + time.Since(begun) }
		var surrendered, proven, fails atomic.Int64
		fails.Store(2)
		log := logrus.New()
		log.SetOutput(io.Discard)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			Watch(ctx, p, now, func(context.Context) error {
				if fails.Add(-1) >= 0 {
					return errors.New("it waits for a disk")
				}
				surrendered.Add(1)
				return nil
			}, func(context.Context) error { proven.Add(1); return nil }, log)
			close(done)
		}()
		time.Sleep(10 * time.Second)
		if surrendered.Load() != 0 {
			t.Error("killed without a lease")
		}
		for range 10 {
			p.Leased(now()+3*time.Second, now(), 1)
			time.Sleep(time.Second)
		}
		if surrendered.Load() != 0 {
			t.Error("killed under a good lease")
		}
		time.Sleep(2*time.Second + 5*step)
		if surrendered.Load() != 1 || proven.Load() != 0 {
			t.Errorf("killed %d times and %d after the lease ran out", surrendered.Load(), proven.Load())
		}
		time.Sleep(time.Minute) // whoever starts a guest now does so without a lease
		if n := proven.Load(); n < 50 || n > 62 || surrendered.Load() != 1 {
			t.Errorf("killed %d times in a minute after the lease ran out, and surrendered %d times", n, surrendered.Load())
		}
		p.Leased(now()+time.Second, now(), 2)
		was := proven.Load()
		time.Sleep(time.Second - step)
		if proven.Load() != was {
			t.Error("killed under the next lease")
		}
		time.Sleep(5 * step)
		if surrendered.Load() != 2 {
			t.Errorf("surrendered %d times after the next lease ran out", surrendered.Load())
		}
		cancel()
		<-done
	})
}

// A kill that does not end, as a look for guests fails, is over when the guard has the lease again.
func TestAKillEndsWithTheNextLease(t *testing.T) {
	p, err := OpenPage(filepath.Join(t.TempDir(), "page"), Second)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for name, released := range map[string]bool{"renewed": false, "released": true} {
		synctest.Test(t, func(t *testing.T) {
			begun := time.Now()
			now := func() time.Duration { return time.Hour + time.Since(begun) }
			log := logrus.New()
			log.SetOutput(io.Discard)
			ctx, cancel := context.WithCancel(t.Context())
			var killing atomic.Bool
			p.Leased(now()+time.Second, now(), 1)
			go Watch(ctx, p, now, func(ctx context.Context) error {
				killing.Store(true)
				<-ctx.Done()
				killing.Store(false)
				return ctx.Err()
			}, nil, log)
			time.Sleep(5 * time.Second)
			if !killing.Load() {
				t.Errorf("%s: nothing is killed", name)
			}
			if p.Leased(now()+time.Hour, now(), 2); released {
				p.Released()
			}
			time.Sleep(2 * step)
			if killing.Load() {
				t.Errorf("%s: the kill goes on", name)
			}
			cancel()
			time.Sleep(time.Second)
		})
	}
}
