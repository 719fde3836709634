package migrate

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/migrate/events"
	"github.com/vmferry/vmferry/migrate/libvirt"
)

// emulation is a migration of a guest that writes evenly, as QEMU makes one: it sends what a tenth of a second may carry
// at its begin, and counts what was written again as often as it looks.
type emulation struct {
	link, dirty uint64 // bytes per second
	used, set   uint64 // bytes: what the first pass sends, and what is written again and again
	noise       uint64 // bytes that every pass finds dirty, however short it is
}

// run lets the rule steer it. It returns the limit that ended it and how long that took, or the decision to begin anew
// or give up.
func (e emulation) run(m *mover) (limit, took time.Duration, stop Decision) {
	begin := time.Now()
	rest, sent := e.used, uint64(0)
	limit = m.policy.First
	for pass := 1; ; pass++ {
		began := time.Now()
		end := began.Add(max(seconds(rest, e.link).Truncate(100*time.Millisecond), 100*time.Millisecond))
		for wait := passSettle; time.Now().Before(end); wait = pollEvery {
			time.Sleep(min(wait, time.Until(end)))
			done := min(rest, uint64(time.Since(began).Seconds()*float64(e.link)))
			s := libvirt.JobStats{Active: true, Elapsed: time.Since(begin), Iteration: pass, Remaining: rest - done, Processed: sent + done, Rate: e.link}
			if pass > 1 {
				s.DirtyRate, s.Downtime = max(e.dirty, e.link), seconds(rest, e.link)
			}
			d := m.policy.Decide(m.state(s))
			if d.Throttle > 0 || d.GiveUp != "" || d.PostCopy {
				return limit, time.Since(begin), d
			}
			limit = max(limit, d.Limit)
		}
		sent += rest
		rest = min(uint64(time.Since(began).Seconds()*float64(e.dirty)), e.set) + e.noise
		if seconds(rest, e.link) <= limit {
			return limit, time.Since(begin), Decision{}
		}
	}
}

// TestBusyGuestConverges: a guest at four fifths of the link gets across by itself, and soon.
func TestBusyGuestConverges(t *testing.T) {
	for _, c := range []struct {
		name  string
		guest emulation
		within,
		most time.Duration
		stuck bool
	}{
		{"at half of the link", emulation{20 * mib, 10 * mib, 100 * mib, 32 * mib, 0}, 10 * time.Second, 100 * time.Millisecond, false},
		{"at four fifths, with other work", emulation{20 * mib, 16 * mib, 100 * mib, 32 * mib, 13 * mib / 10}, 20 * time.Second, usualPause, false},
		{"at nine tenths, over a faster link", emulation{100 * mib, 90 * mib, 2048 * mib, 512 * mib, mib}, 90 * time.Second, usualPause, false},
		{"at three times the link, but of little memory", emulation{20 * mib, 60 * mib, 100 * mib, 32 * mib, mib}, 15 * time.Second, longPause, false},
		{"at three times the link", emulation{20 * mib, 60 * mib, 100 * mib, 64 * mib, mib}, 20 * time.Second, usualPause, true},
		{"at three times a faster one", emulation{100 * mib, 300 * mib, 4096 * mib, 1024 * mib, mib}, 90 * time.Second, usualPause, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &mover{job: job{events: events.NewLog()}, load: libvirt.Load{Memory: c.guest.used}}
				m.policy = newPolicy(0, 0, 30*time.Millisecond, 0)
				m.policy.Throttle = true
				limit, took, stop := c.guest.run(m)
				if (stop.Throttle > 0) != c.stuck || stop.GiveUp != "" {
					t.Errorf("after %v: %+v", took, stop)
				}
				if took > c.within || limit > c.most {
					t.Errorf("took %v with a limit of %v, want %v and %v", took, limit, c.within, c.most)
				}
				t.Logf("%v, limit %v", took, limit)
			})
		})
	}
}
