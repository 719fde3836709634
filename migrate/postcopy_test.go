package migrate

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/migrate/convergence"
	"github.com/vmferry/vmferry/migrate/history"
	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/preflight"
	"github.com/vmferry/vmferry/migrate/record"
)

var errCut = errors.New("operation failed: migration job: migration in post-copy phase failed")

// writer is a pair whose guest writes faster than the link carries, and may be switched to post-copy.
// What follows the switch is after's.
func newWriter(t *testing.T, after func(p *pair) error) *pair {
	t.Helper()
	p := newPair(t)
	p.req.PostCopy, p.req.NoConverge = true, true
	switched := make(chan struct{})
	p.Source.PostCopy = func() error { close(switched); return nil }
	p.Source.Migrate = func(context.Context) error {
		if p.last().Recover {
			return after(p)
		}
		p.Migration("active")
		p.Target.Is(stopped("migration"))
		p.Source.SetJob(libvirt.JobStats{Active: true, Total: 512 << 20, Remaining: 200 << 20, Processed: 600 << 20,
			Rate: 100 << 20, DirtyRate: 100 << 20, Iteration: 3})
		select {
		case <-switched:
		case <-p.Source.Aborted:
			p.Cancelled()
			return errLibvirt
		}
		p.split()
		return after(p)
	}
	return p
}

func (p *pair) last() libvirt.MigrateParams {
	p.Source.Mu.Lock()
	defer p.Source.Mu.Unlock()
	return p.Source.Params[len(p.Source.Params)-1]
}

// split lets the guest continue at the target, with part of its memory at the source.
func (p *pair) split() {
	p.Source.Is(stopped("postcopy"))
	p.Source.Emit("STOP", "")
	p.Migration("device")
	time.Sleep(10 * time.Millisecond)
	p.Migration("postcopy-active")
	p.Target.Is(runs("postcopy"))
	p.Target.Emit("RESUME", "")
}

// whole is the end of a post-copy.
func (p *pair) whole() {
	time.Sleep(2 * time.Second)
	p.Migration("completed")
	p.Target.Is(runs("migrated"))
	p.Source.SetJob(libvirt.JobStats{})
	p.Source.Answer(libvirt.ErrNoDomain)
}

// tear is a link that was cut in post-copy.
func (p *pair) tear() {
	p.Source.Is(stopped("postcopy-failed"))
	p.Target.Is(runs("postcopy-failed"))
}

func TestPostCopy(t *testing.T) {
	tries, brokenOff := 0, false
	cases := []struct {
		name    string
		after   func(p *pair) error
		outcome record.Outcome
		note    string
	}{
		{"all of it arrives", func(p *pair) error { p.whole(); return nil }, record.Moved, "was switched to post-copy"},
		{"libvirt reports an error all the same", func(p *pair) error { p.whole(); return errLibvirt }, record.Moved,
			"moved all the same"},
		{"the link is cut, and mended", func(p *pair) error {
			if tries++; tries < 3 {
				p.tear()
				return errCut
			}
			p.whole()
			return nil
		}, record.Moved, "failed, and was recovered"},
		{"a try to go on hangs", func(p *pair) error {
			if p.last().Recover && brokenOff {
				p.whole()
				return nil
			}
			p.tear()
			if !p.last().Recover {
				return errCut
			}
			p.Source.SetJob(libvirt.JobStats{}) // which reports nothing sent
			<-p.Source.Broken
			brokenOff = true
			return errCut
		}, record.Moved, "failed, and was recovered"},
		{"the link stays cut", func(p *pair) error { p.tear(); return errCut }, record.Unknown, "destroy it at neither end"},
		{"the target's QEMU is killed", func(p *pair) error {
			p.Source.Is(stopped("postcopy-failed"))
			p.Target.Answer(libvirt.ErrNoDomain)
			return errCut
		}, record.Unknown, "must never be resumed"},
		{"the source's QEMU is killed", func(p *pair) error {
			p.Source.Answer(libvirt.ErrNoDomain)
			p.Target.Is(runs("postcopy-failed"))
			return errCut
		}, record.Unknown, "destroy the guest at the target, and start it again"},
		{"the source's QEMU is killed, and the target has not noticed", func(p *pair) error {
			p.Source.Answer(libvirt.ErrNoDomain)
			return errCut
		}, record.Unknown, "may be incomplete"},
		{"the target's libvirtd is killed", func(p *pair) error {
			p.tear()
			p.Target.Answer(libvirt.ErrConnect)
			p.Target.Refuse(libvirt.ErrConnect)
			return errCut
		}, record.Unknown, "destroy the guest at neither end"},
		{"the source's libvirtd is killed, and comes back", func(p *pair) error {
			p.Source.Answer(libvirt.ErrConnect)
			p.Source.Refuse(libvirt.ErrConnect)
			go func() { time.Sleep(3 * time.Second); p.Source.Refuse(nil); p.whole() }()
			return libvirt.ErrConnect
		}, record.Moved, "switched to post-copy"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newWriter(t, c.after)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				begin := time.Now()
				rec, err := Move(ctx, p.req, p.deps)
				if rec.Outcome != c.outcome || (err == nil) != (c.outcome == record.Moved) {
					t.Errorf("outcome %q, %v; want %q", rec.Outcome, err, c.outcome)
				}
				if notes := strings.Join(rec.Notes, "; "); !strings.Contains(notes, c.note) {
					t.Errorf("notes %q, want %q", notes, c.note)
				}
				if p.Source.Resumes+p.Target.Resumes != 0 || p.wasAborted() {
					t.Error("a guest in post-copy was resumed or aborted")
				}
				if took := time.Since(begin); took > time.Minute {
					t.Errorf("took %v of a minute", took)
				}
				if c.outcome == record.Moved && rec.Rung != ladder.PostCopy {
					t.Errorf("moved by %q", rec.Rung)
				}
			})
		})
	}
}

func (p *pair) wasAborted() bool {
	select {
	case <-p.Source.Aborted:
		return true
	default:
		return false
	}
}

// A bound holds for what nobody waits for: not from the switch on, nor for what is gone on with after a cut.
func TestPostCopyIsNotBounded(t *testing.T) {
	for _, c := range []struct {
		name  string
		bound uint64
		lift  func(ctx context.Context) error
		want  []uint64
	}{
		{"no bound", 0, nil, nil},
		{"bounded", 20, nil, []uint64{0}},
		{"the bound stays", 20, func(context.Context) error { return errLibvirt }, []uint64{0}},
		{"libvirt does not answer", 20, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, []uint64{0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newWriter(t, func(p *pair) error {
					if p.last().Recover {
						p.whole()
						return nil
					}
					if !slices.Equal(p.Source.PostCopySpeeds, c.want) {
						t.Errorf("at the switch: %v MiB/s, want %v", p.Source.PostCopySpeeds, c.want)
					}
					p.tear()
					return errCut
				})
				p.req.Bandwidth, p.Source.SetPostCopy = c.bound, c.lift
				if rec, err := Move(t.Context(), p.req, p.deps); err != nil || rec.Rung != ladder.PostCopy {
					t.Errorf("by %q, %v", rec.Rung, err)
				}
				if first, last := p.Source.Params[0], p.last(); first.Bandwidth != c.bound || last.Bandwidth != 0 {
					t.Errorf("begun with %d MiB/s, gone on with %d", first.Bandwidth, last.Bandwidth)
				}
			})
		})
	}
}

func TestPostCopyIsNotCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		p := newWriter(t, func(p *pair) error { cancel(); p.whole(); return nil })
		rec, err := Move(ctx, p.req, p.deps)
		if err != nil || rec.Outcome != record.Moved || p.wasAborted() {
			t.Errorf("outcome %q, aborted %v, %v", rec.Outcome, p.wasAborted(), err)
		}
	})
}

// A post-copy that is not done at the deadline is neither aborted nor called moved.
func TestPostCopyPastTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		p := newWriter(t, func(p *pair) error { <-release; return errCut })
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		begin := time.Now()
		rec, err := Move(ctx, p.req, p.deps)
		if took := time.Since(begin); took > 22*time.Second || p.wasAborted() {
			t.Errorf("took %v, aborted %v", took, p.wasAborted())
		}
		if rec.Outcome != record.Unknown || !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "leave both until") {
			t.Errorf("outcome %q, %v", rec.Outcome, err)
		}
		close(release)
	})
}

// Where the switch is refused, pre-copy continues, and is aborted in time.
func TestPostCopyRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newWriter(t, func(*pair) error { t.Error("switched"); return nil })
		asked := 0
		p.Source.PostCopy = func() error { asked++; return libvirt.ErrUnsupported }
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		rec, err := Move(ctx, p.req, p.deps)
		if rec.Outcome != record.Stayed || !errors.Is(err, ErrOutOfTime) || asked != 1 {
			t.Errorf("outcome %q, asked %d times, %v", rec.Outcome, asked, err)
		}
	})
}

// A switch whose events nobody heard is a switch all the same.
func TestPostCopyWithoutEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newWriter(t, func(p *pair) error { time.Sleep(time.Minute); p.whole(); return nil })
		p.Source.WatchErr, p.Target.WatchErr = libvirt.ErrUnsupported, libvirt.ErrUnsupported
		ctx, cancel := context.WithTimeout(t.Context(), 65*time.Second)
		defer cancel()
		rec, err := Move(ctx, p.req, p.deps)
		if err != nil || rec.Rung != ladder.PostCopy || p.wasAborted() {
			t.Errorf("moved by %q, aborted %v, %v", rec.Rung, p.wasAborted(), err)
		}
	})
}

// A target whose QEMU cannot do post-copy refuses the whole migration: it is begun again without.
func TestBegunAnewWithoutPostCopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.req.PostCopy = true
		p.Source.Migrate = func(context.Context) error {
			if p.last().PostCopy {
				return errors.New("internal error: unable to execute QEMU command 'migrate-set-capabilities': Postcopy is not supported")
			}
			p.Copy()
			p.Switchover()
			return nil
		}
		rec, err := Move(t.Context(), p.req, p.deps)
		if err != nil || len(p.Source.Params) != 2 || rec.Rung != ladder.Live {
			t.Errorf("moved by %q in %d attempts, %v", rec.Rung, len(p.Source.Params), err)
		}
		if notes := strings.Join(rec.Notes, "; "); !strings.Contains(notes, "Postcopy is not supported") {
			t.Errorf("notes %q", notes)
		}
	})
}

// The bandwidth for the last copy is told where the passes are bounded to less, and a hypervisor that does not know
// it moves the guest all the same.
func TestSwitchoverBandwidth(t *testing.T) {
	for _, c := range []struct {
		name        string
		link, bound uint64 // MiB/s
		refused     bool
		want        []uint64
	}{
		{"no bound", 400, 0, false, []uint64{0}},
		{"a bound far below the link", 400, 20, false, []uint64{200}},
		{"a bound near the link", 30, 20, false, []uint64{0}},
		{"no link known", 0, 20, false, []uint64{0}},
		{"refused", 400, 20, true, []uint64{200, 0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t)
				p.deps.Links = filepath.Join(t.TempDir(), history.LinksFile)
				remember(p.deps.Links, map[string]any{"schema": 1,
					"peers": map[string]history.Link{p.req.Target: {Bandwidth: c.link << 20}}})
				p.req.Bandwidth = c.bound
				p.Source.Migrate = func(context.Context) error {
					if c.refused && p.last().Switchover > 0 {
						return errors.New("invalid argument: parameter 'bandwidth.avail.switchover' not supported")
					}
					p.Copy()
					p.Switchover()
					return nil
				}
				rec, err := Move(t.Context(), p.req, p.deps)
				var got []uint64
				for _, params := range p.Source.Params {
					got = append(got, params.Switchover)
				}
				if err != nil || rec.Outcome != record.Moved || !slices.Equal(got, c.want) {
					t.Errorf("told %v, want %v; %q, %v", got, c.want, rec.Outcome, err)
				}
			})
		})
	}
}

// A small guest is copied at a bounded rate, so that nothing stands in the way of the last copy; one that goes
// on writing has the whole link.
func TestPace(t *testing.T) {
	for _, c := range []struct {
		name   string
		used   uint64 // MiB
		asked  uint64 // MiB/s
		passes int
		want   uint64
		lifted bool
	}{
		{"a small guest", 100, 0, 2, 128, false},
		{"a large one takes a second", 4096, 0, 2, 4096, false},
		{"a bound that was requested", 100, 20, 2, 20, false},
		{"a busy guest", 100, 0, 3, 128, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t)
				p.req.Bandwidth = c.asked
				p.Source.Guest = libvirt.Load{Memory: c.used << 20, Resident: c.used << 20}
				p.Source.Migrate = func(context.Context) error {
					p.Source.SetJob(libvirt.JobStats{Active: true, Iteration: c.passes, Remaining: 50 << 20, Rate: 100 << 20})
					time.Sleep(3 * convergence.PollEvery)
					p.Switchover()
					return nil
				}
				rec, err := Move(t.Context(), p.req, p.deps)
				if err != nil || p.last().Bandwidth != c.want {
					t.Errorf("begun with %d MiB/s, %v; want %d", p.last().Bandwidth, err, c.want)
				}
				if got := slices.Contains(p.Source.Speeds, unbound); got != c.lifted {
					t.Errorf("lifted %v, want %v", got, c.lifted)
				}
				if (rec.Cap == 0) != c.lifted {
					t.Errorf("a bound of %d is on record", rec.Cap)
				}
			})
		})
	}
}

// TestTornBefore finds a guest whose post-copy broke under another caller.
func TestTornBefore(t *testing.T) {
	for _, c := range []struct {
		name  string
		there func(p *pair)
		moved bool
	}{
		{"its other half is at the target", func(p *pair) { p.Target.Is(runs("postcopy-failed")) }, true},
		{"its other half is elsewhere", func(*pair) {}, false},
		{"the target cannot be asked", func(p *pair) { p.Target.Refuse(libvirt.ErrConnect) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t)
				p.Source.Is(stopped("postcopy-failed"))
				c.there(p)
				p.Source.Migrate = func(context.Context) error {
					if !p.last().Recover {
						t.Error("restarted")
					}
					p.whole()
					return nil
				}
				rec, err := Move(t.Context(), p.req, p.deps)
				var refusal *preflight.Refusal
				if c.moved && (err != nil || rec.Rung != ladder.PostCopy) || !c.moved && !errors.As(err, &refusal) {
					t.Errorf("moved by %q, %v", rec.Rung, err)
				}
			})
		})
	}
}

// A caller that died in post-copy finds its guest again.
func TestAdoptInPostCopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.req.Adopt = true
		p.Source.Is(stopped("postcopy"))
		p.Target.Is(runs("postcopy"))
		p.Source.SetJob(libvirt.JobStats{Active: true, Iteration: 5})
		go p.whole()
		rec, err := Move(t.Context(), p.req, p.deps)
		if err != nil || rec.Outcome != record.Moved || p.wasAborted() {
			t.Errorf("outcome %q, aborted %v, %v", rec.Outcome, p.wasAborted(), err)
		}
	})
}
