package migrate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/migrate/history"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/record"
)

// copies is at how many ends the guest runs.
func (p *pair) copies() (n int) {
	for _, f := range []*fake{p.Source, p.Target} {
		f.Mu.Lock()
		if f.Fails == nil && f.At.State == libvirt.Running {
			n++
		}
		f.Mu.Unlock()
	}
	return n
}

// TestFaultsOnTheWay lets the nodes and the link between them fail while memory is copied. In each case
// the guest runs once at the end, and the record says where, and why not at the target.
func TestFaultsOnTheWay(t *testing.T) {
	cut := func(p *pair) { p.Source.Mu.Lock(); p.Source.Cut = true; p.Source.Mu.Unlock() }
	slow := func(rate uint64) libvirt.JobStats {
		return libvirt.JobStats{Active: true, Total: 512 << 20, Remaining: 300 << 20, Processed: 212 << 20, Rate: rate,
			Iteration: 2}
	}
	cases := []struct {
		name   string
		faulty func(p *pair) error
		why    error
		text   string
		least  time.Duration // of 60 s
		most   time.Duration
	}{
		{"the target runs out of memory", func(p *pair) error {
			p.Copy()
			p.Cancelled()
			return errors.New("internal error: QEMU unexpectedly closed the monitor: cannot allocate memory")
		}, nil, "cannot allocate memory", 0, 4 * time.Second},
		{"the target's QEMU is killed", func(p *pair) error {
			p.Copy()
			p.Target.Answer(libvirt.ErrNoDomain)
			time.Sleep(time.Second) // libvirt sees the connection close
			p.Cancelled()
			return errLibvirt
		}, errLibvirt, "", 0, 5 * time.Second},
		{"the target's libvirtd is killed", func(p *pair) error {
			p.Copy()
			p.Target.Answer(libvirt.ErrConnect)
			p.Target.Refuse(libvirt.ErrConnect)
			p.Cancelled()
			p.Target.Answer(libvirt.ErrConnect)
			return errLibvirt
		}, errLibvirt, "", 0, 6 * time.Second},
		{"the link is cut", func(p *pair) error { cut(p); return p.hang(context.Background()) }, ErrHopeless,
			"carried nothing for 8s", 7 * time.Second, 12 * time.Second},
		{"the link slows down", func(p *pair) error {
			p.Source.SetJob(slow(1 << 20))
			<-p.Source.Aborted
			p.Cancelled()
			return errLibvirt
		}, ErrHopeless, "300 MiB are left, and the link carries 1.0 MiB/s", 7 * time.Second, 12 * time.Second},
		{"the link slows down, and recovers", func(p *pair) error {
			p.Source.SetJob(slow(1 << 20))
			time.Sleep(5 * time.Second)
			p.Source.SetJob(slow(100 << 20))
			time.Sleep(5 * time.Second)
			p.Source.SetJob(slow(1 << 20))
			<-p.Source.Aborted
			p.Cancelled()
			return errLibvirt
		}, ErrHopeless, "1.0 MiB/s", 17 * time.Second, 20 * time.Second},
		{"the window is shortened", func(p *pair) error {
			p.Copy()
			p.shorten <- time.Now().Add(5 * time.Second)
			<-p.Source.Aborted
			p.Cancelled()
			return errLibvirt
		}, ErrOutOfTime, "", 4 * time.Second, 7 * time.Second},
		{"the window is shortened to nothing", func(p *pair) error {
			p.Copy()
			p.shorten <- time.Now().Add(-time.Second)
			<-p.Source.Aborted
			p.Cancelled()
			return errLibvirt
		}, ErrOutOfTime, "", 2 * time.Second, 3 * time.Second},
		{"the window is made longer, which it is not", func(p *pair) error {
			p.Copy()
			p.shorten <- time.Now().Add(time.Hour)
			<-p.Source.Aborted
			p.Cancelled()
			return errLibvirt
		}, ErrOutOfTime, "", 52 * time.Second, 60 * time.Second},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t)
				p.shorten = make(chan time.Time)
				p.req.Shorten = p.shorten
				p.Source.Migrate = func(context.Context) error { return c.faulty(p) }
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				begin := time.Now()
				rec, err := Move(ctx, p.req, p.deps)
				if took := time.Since(begin); took < c.least || took > c.most {
					t.Errorf("took %v, want %v to %v", took, c.least, c.most)
				}
				if err == nil || rec.Outcome != record.Stayed || p.copies() != 1 || rec.Error == "" {
					t.Errorf("outcome %q, runs at %d ends, %v", rec.Outcome, p.copies(), err)
				}
				if c.why != nil && !errors.Is(err, c.why) || !strings.Contains(rec.Error, c.text) {
					t.Errorf("error %v, want %v and %q in it", err, c.why, c.text)
				}
			})
		})
	}
}

// A guest that was thought to be quiet, and is not, is moved with XBZRLE in a second attempt, and is slowed down in
// another where that is not enough or not to be had.
func TestBegunAgain(t *testing.T) {
	for _, c := range []struct {
		name   string
		enough func(libvirt.MigrateParams) bool // with it, passes become shorter
		req    func(*Request)
		calls  string
		cache  uint64 // in the record
		note   string
	}{
		{"XBZRLE is enough", func(p libvirt.MigrateParams) bool { return p.XBZRLECache > 0 }, func(*Request) {},
			"plain xbzrle", 256 << 20, "with XBZRLE"},
		{"XBZRLE is not enough", func(p libvirt.MigrateParams) bool { return p.AutoConverge }, func(*Request) {},
			"plain xbzrle xbzrle+throttle", 256 << 20, "with auto-converge"},
		{"several connections were requested", func(p libvirt.MigrateParams) bool { return p.AutoConverge },
			func(r *Request) { r.Options.Parallel = true }, "plain throttle", 0, "with auto-converge"},
		{"another compression was requested", func(p libvirt.MigrateParams) bool { return p.AutoConverge },
			func(r *Request) { r.Options.Compressed, r.Options.Compression = true, "zlib" },
			"zlib zlib+throttle", 0, "with auto-converge"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t)
				p.known(history.Link{Bandwidth: 100 << 20})
				c.req(&p.req)
				p.Source.GaugeErr, p.Source.Guest = nil,
					libvirt.Load{Memory: 600 << 20, Dirty: libvirt.Dirty{Measured: true, Rate: 1 << 20}}
				p.Source.Migrate = func(context.Context) error { return p.unless(c.enough) }
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				rec, err := Move(ctx, p.req, p.deps)
				if err != nil || rec.Outcome != record.Moved {
					t.Fatalf("outcome %q, %v", rec.Outcome, err)
				}
				var calls []string
				for _, params := range p.Source.Params {
					how := cmp.Or(params.Compression, "plain")
					if params.AutoConverge {
						how = strings.TrimPrefix(how+"+throttle", "plain+")
					}
					calls = append(calls, how)
				}
				if got := strings.Join(calls, " "); got != c.calls || rec.Cache != c.cache {
					t.Errorf("begun %q with a cache of %d, want %q, %d", got, rec.Cache, c.calls, c.cache)
				}
				if notes := strings.Join(rec.Notes, "; "); rec.PauseMS == nil || *rec.PauseMS != 15 ||
					!strings.Contains(notes, c.note) {
					t.Errorf("pause %v, notes %q", rec.PauseMS, notes)
				}
			})
		})
	}
}

// unless is a migration whose passes become no shorter without what is enough.
func (p *pair) unless(enough func(libvirt.MigrateParams) bool) error {
	if enough(p.last()) {
		p.Copy()
		p.Switchover()
		return nil
	}
	aborted := make(chan struct{})
	p.Source.Mu.Lock()
	p.Source.Aborted = aborted
	p.Source.Mu.Unlock()
	p.Source.SetJob(libvirt.JobStats{Active: true, Total: 512 << 20, Remaining: 90 << 20, Processed: 700 << 20,
		Rate: 100 << 20, DirtyRate: 120 << 20, Iteration: 3})
	<-aborted
	p.Cancelled()
	p.Source.SetJob(libvirt.JobStats{})
	return errLibvirt
}

// The hypervisor is left alone just after a pass began: the guest may be about to stop.
func TestNothingIsAskedInAYoungPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.Source.Migrate = func(context.Context) error {
			p.Migration("active")
			p.Source.SetJob(libvirt.JobStats{Active: true, Iteration: 1, Remaining: 1, Rate: 1})
			time.Sleep(470 * time.Millisecond) // the tick at 500 ms falls into the next pass
			before := p.Source.Asked()
			p.Source.Emit("MIGRATION_PASS", `{"pass":2}`)
			time.Sleep(49 * time.Millisecond)
			if p.Source.Asked() != before {
				t.Error("asked in a young pass")
			}
			time.Sleep(2 * time.Millisecond)
			synctest.Wait()
			if n := p.Source.Asked() - before; n != 1 {
				t.Errorf("asked %d times once the pass was under way, want 1", n)
			}
			p.Switchover()
			return nil
		}
		if _, err := Move(t.Context(), p.req, p.deps); err != nil {
			t.Error(err)
		}
	})
}

// Passes that follow each other closely are no reason to ask nothing for ever: the limit would never be raised.
func TestShortPassesAreSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.Source.Migrate = func(context.Context) error {
			p.Migration("active")
			before := p.Source.Asked()
			for pass := 2; pass < 202; pass++ {
				p.Source.SetJob(libvirt.JobStats{Active: true, Iteration: pass, Remaining: mib, Rate: gib})
				p.Source.Emit("MIGRATION_PASS", fmt.Sprintf(`{"pass":%d}`, pass))
				time.Sleep(30 * time.Millisecond)
			}
			if n := p.Source.Asked() - before; n < 8 || n > 14 {
				t.Errorf("asked %d times in 6 s, want about two a second", n)
			}
			p.Switchover()
			return nil
		}
		if _, err := Move(t.Context(), p.req, p.deps); err != nil {
			t.Error(err)
		}
	})
}

func TestParams(t *testing.T) {
	req := Request{Bandwidth: 7, Options: libvirt.MigrateOptions{ConvergeIncrement: 5}}
	for _, c := range []struct {
		name string
		try  attempt
		want libvirt.MigrateParams
	}{
		{"plain", attempt{}, libvirt.MigrateParams{}},
		{"QEMU's own throttle", attempt{throttle: 20}, libvirt.MigrateParams{AutoConverge: true}},
		{"a stronger one from the begin", attempt{throttle: 45},
			libvirt.MigrateParams{AutoConverge: true, MigrateOptions: libvirt.MigrateOptions{ConvergeInitial: 45}}},
		{"post-copy", attempt{postCopy: true}, libvirt.MigrateParams{MigrateOptions: libvirt.MigrateOptions{PostCopy: true}}},
		{"parallel", attempt{connections: 4},
			libvirt.MigrateParams{MigrateOptions: libvirt.MigrateOptions{Parallel: true, Connections: 4}}},
	} {
		got := c.try.params(libvirt.MigrateParams{Bandwidth: req.Bandwidth, MigrateOptions: req.Options})
		if got.Bandwidth != 7 || got.ConvergeIncrement != 5 {
			t.Errorf("%s: what was requested is lost: %+v", c.name, got)
		}
		if got.AutoConverge != c.want.AutoConverge || got.ConvergeInitial != c.want.ConvergeInitial ||
			got.PostCopy != c.want.PostCopy ||
			got.Parallel != c.want.Parallel || got.Connections != c.want.Connections {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}
