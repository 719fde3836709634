package migrate

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/preflight"
	"github.com/vmferry/vmferry/migrate/record"
	"github.com/vmferry/vmferry/migrate/wait"
)

const (
	xenDoc = `<domain type='xen'><name>web</name><uuid>` + guestUUID +
		`</uuid><memory unit='KiB'>131072</memory><vcpu>2</vcpu><os><type arch='x86_64' machine='xenpvh'>xenpvh</type></os></domain>`
	xenHost = `<guest><os_type>xenpvh</os_type><arch name='x86_64'><machine>xenpvh</machine><domain type='xen'/></arch></guest></capabilities>`
)

var errSend = &libvirt.Error{Op: "migrate", Code: 1, Message: "internal error: Failed to send migration data to destination host"}

// xenPair is a guest of Xen's, whose driver reports no events and knows neither limit nor abort.
func xenPair(t *testing.T) *pair {
	p := newPair(t)
	p.Source.URI, p.Target.URI = "xen:///system", "xen+tcp://node2/system"
	p.Source.Peer, p.Source.Doc = p.Target.URI, xenDoc
	for _, f := range []*fake{p.Source, p.Target} {
		f.Caps = strings.Replace(f.Caps, "</capabilities>", xenHost, 1)
		f.WatchErr = errors.New("asked for events")
	}
	p.req.SourceURI, p.req.TargetURI = p.Source.URI, p.Target.URI
	p.Source.Migrate = func(context.Context) error { p.carry(4 * time.Second); p.arrive(); return nil }
	return p
}

// carry is what libxl tells while it copies: that it does, and for how long.
func (p *pair) carry(d time.Duration) {
	for began := time.Now(); time.Since(began) < d; time.Sleep(250 * time.Millisecond) {
		p.Source.SetJob(libvirt.JobStats{Active: true, Elapsed: time.Since(began)})
	}
}

func (p *pair) arrive() {
	p.Target.Is(runs("migrated"))
	p.Source.SetJob(libvirt.JobStats{})
	p.Source.Answer(libvirt.ErrNoDomain)
}

// untouched fails where a driver was requested what it has not.
func (p *pair) untouched(t *testing.T) {
	t.Helper()
	if len(p.Source.Limits)+len(p.Source.Speeds)+len(p.Source.PostCopySpeeds) > 0 || isClosed(p.Source.Aborted) {
		t.Errorf("limits %v, speeds %v and %v, aborted %t", p.Source.Limits, p.Source.Speeds, p.Source.PostCopySpeeds,
			isClosed(p.Source.Aborted))
	}
}

func TestMoveWithoutLevers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := xenPair(t)
		p.Source.Migrate = func(context.Context) error { p.carry(6 * time.Second); p.arrive(); return nil }
		var longest time.Duration
		p.req.Progress = func(pr Progress) { longest = max(longest, pr.Elapsed) }
		p.req.PostCopy, p.req.Bandwidth, p.req.Options.Compressed, p.req.Unsafe = true, 100, true, true
		rec, err := Move(t.Context(), p.req, p.deps)
		if err != nil || rec.Outcome != record.Moved {
			t.Fatalf("outcome %q, %v", rec.Outcome, err)
		}
		p.untouched(t)
		asked := p.Source.Params[0]
		if asked.AutoConverge || asked.PostCopy || asked.Compressed || asked.Unsafe || asked.Bandwidth+asked.Switchover > 0 {
			t.Errorf("asked for %+v", asked)
		}
		if rec.PauseMS != nil || rec.BudgetKept != nil || rec.Verified.SameBoot != nil || rec.Cap != 0 || rec.Rung != "live" {
			t.Errorf("record %+v", rec)
		}
		if want := []libvirt.Ability{libvirt.CanBoundPause, libvirt.CanTellPause}; !slices.Equal(rec.Unsupported, want) {
			t.Errorf("unsupported %q", rec.Unsupported)
		}
		for _, want := range []string{"budget of 100ms cannot be held", "pause will not be known",
			"left out: not supported", "go on before all", "bound the speed", "compression"} {
			if !strings.Contains(strings.Join(rec.Notes, "\n"), want) {
				t.Errorf("no note says %q: %q", want, rec.Notes)
			}
		}
		if longest < 3*time.Second {
			t.Errorf("the progress told of %v", longest)
		}
	})
}

func TestRefusedWithoutLevers(t *testing.T) {
	idle := libvirt.Status{State: libvirt.ShutOff, Reason: "unknown", UUID: guestUUID, ID: -1}
	for _, c := range []struct {
		name, check, text string
		spoil             func(p *pair)
	}{
		{"firm", preflight.CheckRequest, "cannot bound the pause", func(p *pair) { p.req.Firm = true }},
		{"encrypted", preflight.CheckRequest, "cannot encrypt", func(p *pair) { p.req.Options.TLS = true }},
		{"disks", preflight.CheckRequest, "cannot copy disks", func(p *pair) { p.req.Disks = preflight.DisksCopy }},
		{"memory", preflight.CheckMemory, "the target has 132 MiB free, and the guest needs 133 MiB",
			func(p *pair) { p.Target.Free = 132 << 20 }},
		{"standing still", preflight.CheckRunning, "xl resume web", func(p *pair) {
			p.deps.Halted = func(context.Context, string, string) (bool, error) { return true, nil }
		}},
		{"a stuck copy", preflight.CheckDuplicate, "still at work",
			func(p *pair) { p.Target.Is(idle); p.Target.SetJob(libvirt.JobStats{Active: true}) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := xenPair(t)
				c.spoil(p)
				_, err := Move(t.Context(), p.req, p.deps)
				var r *preflight.Refusal
				if !errors.As(err, &r) || r.Check != c.check || !strings.Contains(err.Error(), c.text) {
					t.Errorf("refused with %v", err)
				}
				if wants := c.check == preflight.CheckRequest; wants != errors.Is(err, libvirt.ErrUnsupported) {
					t.Errorf("%v: not supported is %t", err, !wants)
				}
				if len(p.Source.Params) > 0 {
					t.Error("a migration was begun")
				}
			})
		})
	}
}

// An abort that the driver has not is never believed: the move is awaited for as long as there is time.
func TestDeadlineWithoutAbort(t *testing.T) {
	for _, c := range []struct {
		name    string
		takes   time.Duration
		outcome record.Outcome
	}{
		{"done in the reserve", 36 * time.Second, record.Moved},
		{"goes on", time.Hour, record.Unknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := xenPair(t)
				p.Source.Migrate = func(ctx context.Context) error {
					p.Source.SetJob(libvirt.JobStats{Active: true})
					if err := wait.For(ctx, c.takes); err != nil {
						return err
					}
					p.arrive()
					return nil
				}
				ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
				defer cancel()
				began := time.Now()
				rec, err := Move(ctx, p.req, p.deps)
				if rec.Outcome != c.outcome || time.Since(began) > 41*time.Second {
					t.Errorf("outcome %q after %v: %v", rec.Outcome, time.Since(began), err)
				}
				if c.outcome == record.Unknown &&
					(!errors.Is(err, ErrUnknown) || !errors.Is(err, ErrOutOfTime) ||
						!errors.Is(err, libvirt.ErrUnsupported)) {
					t.Errorf("error %v", err)
				}
				p.untouched(t)
			})
		})
	}
}

// A migration that fails at its last step leaves a guest that is paused, and of which the driver says that it runs.
func TestHaltedAtTheSource(t *testing.T) {
	lost := &libvirt.Error{Op: "migrate", Code: 38, Message: "Cannot recv data", Kind: libvirt.ErrConnect}
	for _, c := range []struct {
		name    string
		err     error
		target  func(p *pair)
		outcome record.Outcome
		woken   bool
	}{
		{"refused, and not at the target", errSend, func(*pair) {}, record.Stayed, true},
		{"refused, and at the target", errSend, func(p *pair) { p.Target.Is(runs("migrated")) }, record.Moved, false},
		{"refused, and the target is silent", errSend, func(p *pair) { p.Target.Answer(errors.New("no answer")) },
			record.Unknown, false},
		{"refused, and paused at the target", errSend, func(p *pair) { p.Target.Is(stopped("user")) }, record.Unknown, false},
		{"the connection was lost", lost, func(*pair) {}, record.Unknown, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := xenPair(t)
				halted, woken := false, false
				p.deps.Halted = func(context.Context, string, string) (bool, error) { return halted, nil }
				p.deps.Wake = func(context.Context, string, string) error { halted, woken = false, true; return nil }
				p.Source.Migrate = func(context.Context) error {
					p.carry(time.Second)
					halted = true
					p.Source.SetJob(libvirt.JobStats{})
					c.target(p)
					return c.err
				}
				rec, err := Move(t.Context(), p.req, p.deps)
				if rec.Outcome != c.outcome || woken != c.woken || (err == nil) != (c.outcome == record.Moved) {
					t.Errorf("outcome %q, woken %t: %v", rec.Outcome, woken, err)
				}
			})
		})
	}
}

// A daemon that was started again sees that its guest is paused, and calls it asleep.
func TestAsleepAtTheSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := xenPair(t)
		p.Source.Migrate = func(context.Context) error {
			p.Source.Is(libvirt.Status{State: libvirt.PMSuspended, Reason: "unknown", UUID: guestUUID, ID: 1})
			p.Target.Is(runs("migrated"))
			return errSend
		}
		if rec, err := Move(t.Context(), p.req, p.deps); err != nil || rec.Outcome != record.Moved {
			t.Errorf("outcome %q: %v", rec.Outcome, err)
		}
	})
}

func TestBudgetHeld(t *testing.T) {
	if err := BudgetHeld("qemu+tcp://node2/system"); err != nil {
		t.Error(err)
	}
	var lack *libvirt.Unsupported
	if err := BudgetHeld("xen:///system"); !errors.As(err, &lack) || lack.What != libvirt.CanBoundPause || lack.Driver != "xen" {
		t.Errorf("Xen: %v", err)
	}
}
