package guardd

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// No lease is taken while the second process does not run, whoever asks for it; one that is held is kept.
func TestSecondProcess(t *testing.T) {
	for name, itself := range map[string]bool{"asked": false, "by itself": true} {
		synctest.Test(t, func(t *testing.T) {
			var runs atomic.Bool
			w := newWorld(t)
			a := w.start(1, func(c *Config) { c.Node.SecondRuns, c.OpenItself = runs.Load, itself })
			time.Sleep(5 * time.Second)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := a.OpenLease(ctx); err == nil || !strings.Contains(err.Error(), "second process does not run") {
				t.Errorf("%s: opened: %v", name, err)
			}
			if s := w.slot(1); s.Generation != 0 {
				t.Errorf("%s: slot %+v", name, s)
			}
			runs.Store(true)
			a.open(1)
			runs.Store(false)
			time.Sleep(5 * time.Second)
			if !a.mayRun() || a.done().guests != 1 {
				t.Errorf("%s: the lease is given back", name)
			}
			r, err := a.Status(t.Context())
			if !r.NoSecond || r.Phase != "held" || err == nil || !strings.Contains(err.Error(), "second process does not run") {
				t.Errorf("%s: status %+v, %v", name, r, err)
			}
			if ctx, cancel := context.WithTimeout(t.Context(), time.Second); a.OpenLease(ctx) != nil {
				t.Errorf("%s: a lease that is held is refused", name)
				cancel()
			} else {
				cancel()
			}
			runs.Store(true)
			time.Sleep(time.Second)
			if r, err := a.Status(t.Context()); r.NoSecond || err != nil && strings.Contains(err.Error(), "second") {
				t.Errorf("%s: status %+v, %v", name, r, err)
			}
			a.end()
			time.Sleep(time.Second)
		})
	}
}
