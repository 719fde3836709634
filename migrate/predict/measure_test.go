package predict

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// gauge is a Gauge whose measurement ends at a time.
type gauge struct {
	load   libvirt.Load
	ready  time.Time
	start  error
	broken error
}

func (g *gauge) StartDirtyRate(context.Context, string, time.Duration) error { return g.start }

func (g *gauge) Load(context.Context, string) (libvirt.Load, error) {
	load := g.load
	load.Dirty.Measured = !time.Now().Before(g.ready)
	return load, g.broken
}

func TestMeasure(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		name     string
		slow     time.Duration // how long after its begin the measurement ends
		gauge    gauge
		measured bool
		took     time.Duration
		err      error
	}{
		{"measured", time.Second, gauge{}, true, time.Second, nil},
		{"later than it should", 1250 * time.Millisecond, gauge{}, true, 1300 * time.Millisecond, nil},
		{"cannot be measured", 0, gauge{start: libvirt.ErrUnsupported}, false, 0, nil},
		{"no answer", 0, gauge{broken: broken}, false, time.Second, broken},
		{"does not end in time", time.Hour, gauge{}, false, 3 * time.Second, context.DeadlineExceeded},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				begin := time.Now()
				c.gauge.ready = begin.Add(c.slow)
				c.gauge.load = libvirt.Load{Memory: 7, Dirty: libvirt.Dirty{Rate: 5}}
				load, err := Measure(ctx, &c.gauge, "web", time.Second)
				if !errors.Is(err, c.err) || load.Dirty.Measured != c.measured || time.Since(begin) != c.took {
					t.Errorf("%+v, %v after %v", load, err, time.Since(begin))
				}
			})
		})
	}
}
