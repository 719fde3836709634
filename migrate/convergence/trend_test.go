package convergence

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// emulation is a migration of a guest that writes evenly, as QEMU makes one: it sends what a tenth of a second may
// carry at its begin, and counts what was written again as often as it looks.
type emulation struct {
	link, dirty uint64 // bytes per second
	used, set   uint64 // bytes: what the first pass sends, and what is written again and again
	noise       uint64 // bytes that every pass finds dirty, however short it is
}

// run lets the rule steer it. It returns the limit that ended it and how long that took, or the decision to begin again
// or give up.
func (e emulation) run(p Policy) (limit, took time.Duration, stop Decision) {
	var trend Trend
	begin := time.Now()
	rest, sent := e.used, uint64(0)
	limit = p.InitialDowntime
	for pass := 1; ; pass++ {
		began := time.Now()
		end := began.Add(max(TransferTime(rest, e.link).Truncate(100*time.Millisecond), 100*time.Millisecond))
		for wait := PassSettle; time.Now().Before(end); wait = PollEvery {
			time.Sleep(min(wait, time.Until(end)))
			done := min(rest, uint64(time.Since(began).Seconds()*float64(e.link)))
			s := libvirt.JobStats{Active: true, Elapsed: time.Since(begin), Iteration: pass, Remaining: rest - done,
				Processed: sent + done, Rate: e.link}
			if pass > 1 {
				s.DirtyRate, s.Downtime = max(e.dirty, e.link), TransferTime(rest, e.link)
			}
			state := State{Active: true, Elapsed: s.Elapsed, Left: math.MaxInt64, Iteration: pass, Sent: s.Processed,
				Remaining: s.Remaining,
				Used:      e.used, Rate: s.Rate, DirtyRate: s.DirtyRate}
			trend.Observe(&state, s, p.Window, time.Now())
			d := p.Decide(state)
			if d.Throttle > 0 || d.GiveUp != "" || d.PostCopy {
				return limit, time.Since(begin), d
			}
			limit = max(limit, d.DowntimeLimit)
		}
		sent += rest
		rest = min(uint64(time.Since(began).Seconds()*float64(e.dirty)), e.set) + e.noise
		if TransferTime(rest, e.link) <= limit {
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
		{"at half of the link", emulation{20 * mib, 10 * mib, 100 * mib, 32 * mib, 0}, 10 * time.Second,
			100 * time.Millisecond, false},
		{"at four fifths, with other work", emulation{20 * mib, 16 * mib, 100 * mib, 32 * mib, 13 * mib / 10},
			20 * time.Second, usualPause, false},
		{"at nine tenths, over a faster link", emulation{100 * mib, 90 * mib, 2048 * mib, 512 * mib, mib},
			90 * time.Second, usualPause, false},
		{"at three times the link, but of little memory", emulation{20 * mib, 60 * mib, 100 * mib, 32 * mib, mib},
			15 * time.Second, longPause, false},
		{"at three times the link", emulation{20 * mib, 60 * mib, 100 * mib, 64 * mib, mib}, 20 * time.Second,
			usualPause, true},
		{"at three times a faster one", emulation{100 * mib, 300 * mib, 4096 * mib, 1024 * mib, mib}, 90 * time.Second,
			usualPause, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := NewPolicy(Pause{HandOver: 30 * time.Millisecond}, 0)
				p.AutoConverge = true
				limit, took, stop := c.guest.run(p)
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

// TestTrend feeds samples of a migration under way to what is remembered of it.
func TestTrend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, trend := Policy{Window: time.Hour}, Trend{}
		rate := uint64(100 << 20)
		at := func(pass int, remaining, sent uint64) State {
			time.Sleep(PollEvery)
			s := State{Active: true, Left: math.MaxInt64, Iteration: pass, Remaining: remaining, Sent: sent, Rate: rate}
			trend.Observe(&s, libvirt.JobStats{Active: true, Iteration: pass, Remaining: remaining, Processed: sent,
				Rate: rate}, p.Window, time.Now())
			return s
		}
		at(1, 500<<20, 1)
		if s := at(2, 50<<20, 2); s.Best != 500*time.Millisecond || s.Stale != 0 || s.Quiet != 0 {
			t.Errorf("second pass: %+v", s)
		}
		if s := at(3, 10<<20, 3); s.Best != 100*time.Millisecond || s.Stale != 0 || s.Repeated != PollEvery {
			t.Errorf("a better one: %+v", s)
		}
		if s := at(5, 20<<20, 3); s.Best != 100*time.Millisecond || s.Stale != 2 || s.Stagnant != PollEvery ||
			s.Quiet != PollEvery {
			t.Errorf("a worse one: %+v", s)
		}
		for pass := 6; pass < 6+memory; pass++ {
			at(pass, 80<<20, uint64(pass))
		}
		if s := at(20, 80<<20, 30); s.Best != 800*time.Millisecond || s.Stale != 17 {
			t.Errorf("what was good is long ago: %+v", s)
		}
		time.Sleep(time.Minute) // libvirt gave no answer
		if s := at(20, 80<<20, 30); s.Quiet != 2*PollEvery {
			t.Errorf("after a silence: %+v", s)
		}
	})
}

func TestPageRate(t *testing.T) {
	for _, c := range []struct {
		name string
		job  libvirt.JobStats
		want uint64
	}{
		{"nothing was sent yet", libvirt.JobStats{Rate: 100}, 100},
		{"to a third", libvirt.JobStats{Rate: 100, Processed: 10, Pages: 30}, 300},
		{"pages of zeroes cost their headers", libvirt.JobStats{Rate: 100, Processed: 10, Pages: 1}, 100},
	} {
		if got := PageRate(c.job, false, true, 0); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
	if got := PageRate(libvirt.JobStats{Rate: 100, Processed: 10, Pages: 30}, false, false, 0); got != 100 {
		t.Errorf("not compressed: %d", got)
	}
}
