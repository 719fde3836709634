package watchdog

import (
	"errors"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/hbplugin/guard/host"
	"github.com/vmferry/vmferry/migrate/roottest"
)

// It fires unless it is fed, or closed after the letter V.
func TestTimer(t *testing.T) {
	for _, c := range []struct {
		name  string
		do    func(*Timer)
		fires time.Duration // 0: never
	}{
		{"not opened", func(*Timer) {}, 0},
		{"opened", func(w *Timer) { w.Open() }, time.Minute},
		{"set", func(w *Timer) { w.Open(); w.SetTimeout(5 * time.Second) }, 5 * time.Second},
		{"fed", func(w *Timer) {
			w.Open()
			w.SetTimeout(5 * time.Second)
			for range 3 {
				time.Sleep(4 * time.Second)
				w.Write([]byte{0})
			}
		}, 17 * time.Second},
		{"closed", func(w *Timer) {
			w.Open()
			w.SetTimeout(5 * time.Second)
			time.Sleep(3 * time.Second)
			w.Close()
		}, 8 * time.Second},
		{"closed and opened", func(w *Timer) {
			w.Open()
			w.SetTimeout(5 * time.Second)
			w.Close()
			time.Sleep(3 * time.Second)
			w.Open()
		}, 8 * time.Second},
		{"disarmed", func(w *Timer) { w.Open(); w.Write([]byte("V")); w.Close() }, 0},
		{"fed after the letter", func(w *Timer) { w.Open(); w.Write([]byte("V")); w.Write([]byte{0}); w.Close() }, time.Minute},
		{"without power", func(w *Timer) { w.Open(); w.Reset() }, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var fired time.Duration
				begun := time.Now()
				w := New(func() { fired = time.Since(begun) })
				c.do(w)
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				if fired != c.fires {
					t.Errorf("fired after %s, want %s", fired, c.fires)
				}
			})
		})
	}
}

func TestTimerRefuses(t *testing.T) {
	w := New(func() {})
	defer w.Reset()
	if w.Open() != 0 || w.Open() != syscall.EBUSY {
		t.Error("two may open it")
	}
	if w.SetTimeout(0) != syscall.EINVAL || w.SetTimeout(-time.Second) != syscall.EINVAL {
		t.Error("a timeout of nothing is taken")
	}
}

// The guard takes the file for a watchdog.
func TestFile(t *testing.T) {
	roottest.Need(t)
	dir, fired := filepath.Join(t.TempDir(), "dog"), make(chan struct{})
	w := New(func() { close(fired) })
	path, err := Serve(dir, w)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		w.Reset()
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	dog, err := host.Arm(path, 1500*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if dog.Timeout != 2*time.Second || w.Timeout() != dog.Timeout {
		t.Errorf("the timeout is %s for the guard, and %s", dog.Timeout, w.Timeout())
	}
	if _, err := host.Arm(path, time.Second); !errors.Is(err, unix.EBUSY) {
		t.Errorf("a second guard: %v", err)
	}
	if err := dog.Feed(); err != nil {
		t.Error(err)
	}
	select {
	case <-fired:
	case <-time.After(time.Minute):
		t.Error("it does not fire")
	}
	if err := dog.Disarm(); err != nil {
		t.Error(err)
	}
	if dog, err := host.Arm(path, 3*time.Second); err != nil {
		t.Errorf("after it was disarmed: %v", err)
	} else if err := dog.Disarm(); err != nil {
		t.Error(err)
	}
}
