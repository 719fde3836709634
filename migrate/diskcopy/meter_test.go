package diskcopy

import (
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// A copying of 64 MiB is sampled once a second, for a minute.
func TestMeter(t *testing.T) {
	const total = 64 << 20
	for _, c := range []struct {
		name    string
		perTick uint64
		limits  Limits
		words   string
		at      int // the sample that gives up
	}{
		{"in time", 4 << 20, Limits{Left: time.Minute, Grace: 5 * time.Second}, "", 0},
		{"carries nothing", 0, Limits{Left: time.Hour, Grace: 5 * time.Second}, "carried nothing of the disks for 5s", 5},
		{"carries nothing, as it rests at its bound", 0, Limits{Left: time.Hour, Grace: 5 * time.Second, Bandwidth: 2},
			"carried nothing of the disks for 13s", 13},
		{"too slow for the time that is left", 4 << 10, Limits{Left: time.Minute, Grace: 5 * time.Second},
			"63 MiB of the disks are left, and they are copied at 0.0 MiB/s", 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			var m Meter
			began := time.Unix(1000, 0)
			m.Start(began)
			for i := range 60 {
				done := min(uint64(i)*c.perTick, total)
				_, hopeless := m.Sample(began.Add(time.Duration(i)*time.Second), libvirt.DiskStats{Total: total,
					Processed: done, Remaining: total - done}, c.limits)
				if done == total {
					break
				}
				if hopeless != "" && (i != c.at || c.words == "" || !strings.Contains(hopeless, c.words)) {
					t.Errorf("sample %d: %s", i, hopeless)
				}
				if hopeless != "" {
					return
				}
			}
			if c.words != "" {
				t.Error("it was not given up")
			}
		})
	}
}

func TestMeterTook(t *testing.T) {
	var m Meter
	now := time.Unix(1000, 0)
	if m.Stop(now); m.Took != 0 {
		t.Errorf("a copying that another began took %v", m.Took)
	}
	m.Start(now)
	m.Stop(now.Add(time.Second))
	if m.Stop(now.Add(time.Minute)); m.Took != time.Second {
		t.Errorf("took %v", m.Took)
	}
}
