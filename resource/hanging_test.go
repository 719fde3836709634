package resource

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/resource/ocf"
	"github.com/vmferry/vmferry/resource/timely"
)

// hangs has the config file on storage that gives no answer until the test's end.
func hangs(w *world) (mend func()) {
	end := make(chan struct{})
	w.agent.readFile = func(string) ([]byte, error) { <-end; return nil, errors.New("too late") }
	return func() { close(end) }
}

// Where the config file cannot be read, the note knows the guest.
func TestConfigOnStorageThatHangs(t *testing.T) {
	for _, c := range []struct {
		name, action        string
		noted, there, probe bool
		want                ocf.ExitCode
		calls               []string
	}{
		{"monitored", "monitor", true, true, false, ocf.Success, nil},
		{"monitored, gone", "monitor", true, false, false, ocf.NotRunning, nil},
		{"monitored, never seen", "monitor", false, false, false, ocf.Generic, nil},
		{"probed", "monitor", false, false, true, ocf.NotRunning, nil},
		{"stopped", "stop", true, true, false, ocf.Success, []string{"shutdown"}},
		{"stopped, never seen", "stop", false, false, false, ocf.Success, nil},
		{"moved", "migrate_to", true, true, false, ocf.Success, []string{"migrate"}},
		{"arrived", "migrate_from", true, true, false, ocf.Success, nil},
		{"started", "start", true, false, false, ocf.Generic, nil},
		{"checked", "validate-all", true, true, false, ocf.Generic, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, c.action)
				if c.noted {
					checkExit(t, w.agent.Run(t.Context(), "monitor"), ocf.NotRunning, "")
				}
				if c.there {
					w.boot()
				}
				w.agent.Probe = c.probe
				defer hangs(w)()
				err, took := w.run(c.action)
				checkExit(t, err, c.want, "")
				if most := timely.StorageTime + time.Second; took > most || !slices.Equal(w.calls, c.calls) {
					t.Errorf("took %v, want %v at most; did %v, want %v", took, most, w.calls, c.calls)
				}
			})
		})
	}
}

// A note of our own on a disk that hangs does not outlast the action.
func TestTidyEnds(t *testing.T) {
	for left, most := range map[time.Duration]time.Duration{time.Minute: tidyTime, 2 * time.Second: time.Second,
		0: answerReserve / 4} {
		synctest.Test(t, func(t *testing.T) {
			end := make(chan struct{})
			defer close(end)
			began := time.Now()
			n := guestNotes{ends: began.Add(left)}
			err := n.tidy(func() error { <-end; return nil })
			if took := time.Since(began); !errors.Is(err, timely.ErrNoStorage) || took > most {
				t.Errorf("%v after %v, want an end within %v", err, took, most)
			}
		})
	}
}
