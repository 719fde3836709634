package migrate

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/migrate/endpoint/endpointtest"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/preflight"
	"github.com/vmferry/vmferry/migrate/qmp"
	"github.com/vmferry/vmferry/migrate/record"
)

var errLibvirt = errors.New("operation failed: migration out job: unexpectedly failed")

func TestMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		var phases []string
		p.req.Progress = func(pr Progress) {
			if !slices.Contains(phases, pr.Phase) {
				phases = append(phases, pr.Phase)
			}
		}
		rec, err := Move(t.Context(), p.req, p.deps)
		if err != nil || rec.Outcome != record.Moved {
			t.Fatalf("outcome %q, %v", rec.Outcome, err)
		}
		if *rec.PauseMS != 15 || *rec.HandOverMS != 5 || rec.Clock != qmp.ClockQEMU {
			t.Errorf("pause %v, hand-over %v, clock %q", *rec.PauseMS, *rec.HandOverMS, rec.Clock)
		}
		if rec.UUID != guestUUID || rec.Memory != 512<<20 || rec.Transferred != 7<<20 || rec.Iterations != 3 || rec.Schema != 1 {
			t.Errorf("record: %+v", rec)
		}
		if !slices.Equal(p.Source.Limits, []time.Duration{2 * time.Millisecond}) || len(rec.DowntimeLimitsMS) != 1 {
			t.Errorf("downtime limits %v", p.Source.Limits)
		}
		if rec.Verified.Source != "absent" || rec.Verified.Target != "running (migrated)" ||
			rec.Verified.SameBoot == nil || !*rec.Verified.SameBoot {
			t.Errorf("verified: %+v", rec.Verified)
		}
		if want := []string{"pre-flight", "migrating", "verifying"}; !slices.Equal(phases, want) {
			t.Errorf("progress %q, want %q", phases, want)
		}
		if p.Source.Closed != 3 || p.Target.Closed != 1 {
			t.Errorf("connections closed: %d and %d", p.Source.Closed, p.Target.Closed)
		}
		if rec.DurationMS != 2015 {
			t.Errorf("took %v ms", rec.DurationMS)
		}
	})
}

func TestGuestResetWhileMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.Source.Migrate = func(context.Context) error {
			p.Copy()
			p.Source.Emit("RESET", `{"guest":true,"reason":"guest-reset"}`)
			p.Switchover()
			return nil
		}
		rec, err := Move(t.Context(), p.req, p.deps)
		if err != nil || *rec.Verified.SameBoot {
			t.Errorf("same boot %v, %v", *rec.Verified.SameBoot, err)
		}
	})
}

// TestRefusals walks through every check. Nothing may have been changed.
func TestRefusals(t *testing.T) {
	other := runs("booted")
	other.UUID = "99999999-0000-0000-0000-000000000000"
	cases := []struct {
		name    string
		spoil   func(p *pair)
		check   string
		text    string
		outcome record.Outcome
	}{
		{"no guest named", func(p *pair) { p.req.Guest = "" }, preflight.CheckRequest, "no guest", record.Unknown},
		{"negative limit", func(p *pair) { p.req.DowntimeLimit = -1 }, preflight.CheckRequest, "negative", record.Unknown},
		{"source's libvirtd dead", func(p *pair) { p.Source.ConnectErr = libvirt.ErrConnect }, preflight.CheckSource,
			"cannot be reached", record.Unknown},
		{"source's libvirtd blocked", func(p *pair) { p.Source.Fails = context.DeadlineExceeded },
			preflight.CheckSource, "does not respond", record.Unknown},
		{"not running anywhere", func(p *pair) { p.Source.Fails = libvirt.ErrNoDomain }, preflight.CheckRunning,
			"at the target: absent", record.Unknown},
		{"not running, target dead", func(p *pair) {
			p.Source.Fails, p.Target.ConnectErr = libvirt.ErrNoDomain,
				libvirt.ErrConnect
		}, preflight.CheckRunning, "cannot be asked", record.Unknown},
		{"another guest by UUID", func(p *pair) { p.req.UUID = other.UUID }, preflight.CheckRunning, "does not run",
			record.Unknown},
		{"paused by an I/O error", func(p *pair) { p.Source.At = stopped("ioerror") }, preflight.CheckRunning,
			"paused (ioerror)", record.Stayed},
		{"crashed", func(p *pair) { p.Source.At.State = libvirt.Crashed }, preflight.CheckRunning, "crashed", record.Stayed},
		{"job under way", func(p *pair) { p.Source.Job.Active = true }, preflight.CheckJob, "domjobabort web", record.Stayed},
		{"target dead", func(p *pair) { p.Target.ConnectErr = libvirt.ErrConnect }, preflight.CheckTarget, "node2",
			record.Stayed},
		{"target blocked", func(p *pair) { p.Target.Fails = context.DeadlineExceeded }, preflight.CheckTarget,
			"does not respond", record.Stayed},
		{"target's capabilities broken", func(p *pair) { p.Target.Caps = "<" }, preflight.CheckTarget, "capabilities",
			record.Stayed},
		{"same host", func(p *pair) { p.Target.Caps = endpointtest.CapsXML("source") }, preflight.CheckSameHost,
			"same host", record.Stayed},
		{"runs at both ends", func(p *pair) { p.Target.Is(runs("booted")) }, preflight.CheckDuplicate,
			"runs at both ends", record.Unknown},
		{"paused copy at the target", func(p *pair) { p.Target.Is(stopped("migration")) }, preflight.CheckDuplicate,
			"paused copy", record.Stayed},
		{"name taken", func(p *pair) { p.Target.Is(other) }, preflight.CheckDuplicate, "another guest of this name",
			record.Stayed},
		{"no KVM there", func(p *pair) { p.Source.Doc = strings.Replace(guestDoc, "'qemu'", "'xen'", 1) },
			preflight.CheckHypervisor, `type "xen"`, record.Stayed},
		{"older QEMU there", func(p *pair) { p.Source.Doc = strings.Replace(guestDoc, "10.0", "11.0", 1) },
			preflight.CheckHypervisor, "pc-q35-11.0", record.Stayed},
		{"other architecture", func(p *pair) { p.Source.Doc = strings.Replace(guestDoc, "x86_64", "aarch64", 1) },
			preflight.CheckHypervisor, "aarch64", record.Stayed},
		{"guest's XML broken", func(p *pair) { p.Source.Doc = "<" }, preflight.CheckSource, "description", record.Stayed},
		{"no memory", func(p *pair) { p.Target.Free, p.req.Memory = 512<<20-1, preflight.MemoryRefuse },
			preflight.CheckMemory, "needs 512 MiB", record.Stayed},
		{"CPU", func(p *pair) {
			p.Target.CPU = false
			p.Source.Doc = strings.Replace(strings.Replace(guestDoc, "'qemu'", "'kvm'", 1), "<devices>",
				"<cpu mode='custom'><model>EPYC</model></cpu><devices>", 1)
		}, preflight.CheckCPU, "lacks features", record.Stayed},
		{"disk", func(p *pair) { p.Target.Visible = libvirt.VisibleNo }, preflight.CheckDisk, "/shared/web.img", record.Stayed},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t)
				p.Source.Migrate = func(context.Context) error { t.Error("migrated"); return nil }
				c.spoil(p)
				rec, err := Move(t.Context(), p.req, p.deps)
				var r *preflight.Refusal
				if !errors.As(err, &r) || r.Check != c.check || !strings.Contains(err.Error(), c.text) {
					t.Errorf("error %v, want check %q with %q", err, c.check, c.text)
				}
				if rec.Outcome != c.outcome || rec.Error == "" {
					t.Errorf("outcome %q, want %q; error in record %q", rec.Outcome, c.outcome, rec.Error)
				}
				if len(p.Source.Limits)+len(p.Source.Watchers)+p.Source.Resumes != 0 {
					t.Error("something was begun")
				}
			})
		})
	}
}

func TestOvercommitAndUncheckedAreNotRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.Target.Free, p.req.Memory, p.Target.Visible = 0, preflight.MemoryIgnore, libvirt.VisibleUnknown
		rec, err := Move(t.Context(), p.req, p.deps)
		if err != nil || len(rec.Notes) != 1 || !strings.Contains(rec.Notes[0], "does not know") {
			t.Errorf("notes %q, %v", rec.Notes, err)
		}
	})
}

func TestMovedBefore(t *testing.T) {
	defined := libvirt.Status{State: libvirt.ShutOff, Reason: "migrated", UUID: guestUUID, ID: -1, Persistent: true}
	for name, prepare := range map[string]func(p *pair){
		"definition left here": func(p *pair) { p.Source.Is(defined) },
		"nothing left here":    func(p *pair) { p.Source.Answer(libvirt.ErrNoDomain) },
		"UUID given":           func(p *pair) { p.Source.Answer(libvirt.ErrNoDomain); p.req.UUID = strings.ToUpper(guestUUID) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t)
				p.Source.Migrate = func(context.Context) error { t.Error("migrated"); return nil }
				prepare(p)
				p.Target.Is(runs("migrated"))
				rec, err := Move(t.Context(), p.req, p.deps)
				if err != nil || rec.Outcome != record.Moved || !strings.EqualFold(rec.UUID, guestUUID) {
					t.Errorf("outcome %q UUID %q, %v", rec.Outcome, rec.UUID, err)
				}
			})
		})
	}
}

// TestFaults lets one thing go wrong in a migration under way.
func TestFaults(t *testing.T) {
	cases := []struct {
		name    string
		migrate func(p *pair) error
		outcome record.Outcome
		isErr   error
		note    string
		resumes int
	}{
		{"error, but moved", func(p *pair) error { p.Copy(); p.Switchover(); return errLibvirt }, record.Moved, nil,
			"moved all the same", 0},
		{"libvirt cancelled it", func(p *pair) error { p.Copy(); p.Cancelled(); return errLibvirt }, record.Stayed,
			errLibvirt, "", 0},
		{"success, but stayed", func(p *pair) error { p.Cancelled(); return nil }, record.Stayed, nil, "", 0},
		{"target's node died in pre-copy", func(p *pair) error {
			p.Copy()
			p.Target.Answer(libvirt.ErrConnect)
			p.Target.Refuse(libvirt.ErrConnect)
			p.Source.SetJob(libvirt.JobStats{})
			return errLibvirt
		}, record.Stayed, errLibvirt, "", 0},
		{"target's node died in the switchover, source paused", func(p *pair) error {
			p.Copy()
			p.Halt()
			p.Target.Answer(libvirt.ErrConnect)
			p.Target.Refuse(libvirt.ErrConnect)
			return errLibvirt
		}, record.Unknown, ErrUnknown, "not resumed", 0},
		{"target gone, source left paused", func(p *pair) error {
			p.Copy()
			p.Halt()
			p.Target.Answer(libvirt.ErrNoDomain)
			return errLibvirt
		}, record.Stayed, errLibvirt, "was resumed", 1},
		{"target gone after all was handed over", func(p *pair) error {
			p.Copy()
			p.Halt()
			p.Migration("completed")
			p.Target.Answer(libvirt.ErrNoDomain)
			return errLibvirt
		}, record.Unknown, ErrUnknown, "not resumed", 0},
		{"paused at both ends", func(p *pair) error { p.Copy(); p.Halt(); return errLibvirt }, record.Unknown,
			ErrUnknown, "paused at both ends", 0},
		{"paused by its own disk at the source", func(p *pair) error {
			p.Cancelled()
			p.Source.Is(stopped("ioerror"))
			return errLibvirt
		}, record.Stayed, errLibvirt, "ioerror", 0},
		{"target runs, paused leftover at the source", func(p *pair) error {
			p.Copy()
			p.Switchover()
			p.Source.Is(stopped("migration"))
			return errLibvirt
		}, record.Moved, nil, "never resume it", 0},
		{"runs at both ends", func(p *pair) error {
			p.Copy()
			p.Switchover()
			p.Source.Is(runs("migration-canceled"))
			return errLibvirt
		}, record.Unknown, ErrUnknown, "runs at both ends", 0},
		{"lost at both ends", func(p *pair) error {
			p.Source.Answer(libvirt.ErrNoDomain)
			p.Target.Answer(libvirt.ErrNoDomain)
			return errLibvirt
		}, record.Unknown, ErrUnknown, "at neither end", 0},
		{"source's libvirtd dies in pre-copy", func(p *pair) error {
			p.Copy()
			p.Source.Answer(libvirt.ErrConnect)
			p.Source.Refuse(libvirt.ErrConnect)
			p.Target.Answer(libvirt.ErrNoDomain)
			return libvirt.ErrConnect
		}, record.Unknown, ErrUnknown, "source does not answer", 0},
		{"source's libvirtd dies after the guest arrived", func(p *pair) error {
			p.Copy()
			p.Switchover()
			p.Source.Answer(libvirt.ErrConnect)
			p.Source.Refuse(libvirt.ErrConnect)
			return libvirt.ErrConnect
		}, record.Moved, nil, "what is left of the guest there is paused", 0},
		{"source's libvirtd comes back and cancels", func(p *pair) error {
			p.Copy()
			go func() { time.Sleep(3 * time.Second); p.Source.Refuse(nil); p.Cancelled() }()
			p.Source.Answer(libvirt.ErrConnect)
			p.Source.Refuse(libvirt.ErrConnect)
			return libvirt.ErrConnect
		}, record.Stayed, libvirt.ErrConnect, "", 0},
		{"only our connection broke, the job is aborted", func(p *pair) error {
			p.Copy()
			go func() { <-p.Source.Aborted; p.Cancelled() }()
			return libvirt.ErrConnect
		}, record.Stayed, libvirt.ErrConnect, "", 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t)
				p.Source.Migrate = func(context.Context) error { return c.migrate(p) }
				rec, err := Move(t.Context(), p.req, p.deps)
				if rec.Outcome != c.outcome || (err == nil) != (c.outcome == record.Moved) {
					t.Errorf("outcome %q, %v; want %q", rec.Outcome, err, c.outcome)
				}
				if c.isErr != nil && !errors.Is(err, c.isErr) {
					t.Errorf("error %v, want %v in it", err, c.isErr)
				}
				if notes := strings.Join(rec.Notes, "; "); !strings.Contains(notes, c.note) {
					t.Errorf("notes %q, want %q", notes, c.note)
				}
				if p.Source.Resumes != c.resumes || p.Target.Resumes != 0 {
					t.Errorf("resumed %d times at the source, %d at the target; want %d and 0", p.Source.Resumes,
						p.Target.Resumes, c.resumes)
				}
				if took := rec.Ended.Sub(rec.Started); took > 15*time.Second {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}

func TestProcessWitnessDecides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.Source.Migrate = func(context.Context) error {
			p.Target.Is(runs("unpaused")) // does not say "migrated" any more
			p.Source.Answer(libvirt.ErrConnect)
			p.Source.Refuse(libvirt.ErrConnect)
			return libvirt.ErrConnect
		}
		p.deps.Gone = func(_ context.Context, guest, uuid string) (bool, error) {
			return guest == "web" && uuid == guestUUID, nil
		}
		rec, err := Move(t.Context(), p.req, p.deps)
		if err != nil || rec.Outcome != record.Moved || rec.Verified.Source != "absent (its process ended)" {
			t.Errorf("outcome %q, source %q, %v", rec.Outcome, rec.Verified.Source, err)
		}
	})
}

// hang is a guest that never converges; it is given back when the job is aborted.
func (p *pair) hang(context.Context) error {
	p.Copy()
	<-p.Source.Aborted
	p.Cancelled()
	return errLibvirt
}

func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.Source.Migrate = p.hang
		ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
		defer cancel()
		begin := time.Now()
		rec, err := Move(ctx, p.req, p.deps)
		if rec.Outcome != record.Stayed || !errors.Is(err, ErrOutOfTime) {
			t.Errorf("outcome %q, %v", rec.Outcome, err)
		}
		// An eighth of 40 s is kept.
		if took := time.Since(begin); took < 35*time.Second || took > 40*time.Second {
			t.Errorf("took %v", took)
		}
		if !slices.IsSorted(p.Source.Limits) || p.Source.Limits[len(p.Source.Limits)-1] < 50*time.Millisecond {
			t.Errorf("limits %v: want them raised to the cap before the deadline", p.Source.Limits)
		}
	})
}

func TestDeadlineWhileNothingAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.Source.Migrate = func(ctx context.Context) error {
			p.Source.SetJob(libvirt.JobStats{Active: true})
			<-ctx.Done() // a blocked libvirtd: the call ends when it is abandoned
			return ctx.Err()
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		begin := time.Now()
		rec, err := Move(ctx, p.req, p.deps)
		if rec.Outcome != record.Unknown || !errors.Is(err, ErrUnknown) || !errors.Is(err, ErrOutOfTime) {
			t.Errorf("outcome %q, %v", rec.Outcome, err)
		}
		if took := time.Since(begin); took > 21*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.Source.Migrate = p.hang
		ctx, cancel := context.WithCancel(t.Context())
		go func() { time.Sleep(5 * time.Second); cancel() }()
		rec, err := Move(ctx, p.req, p.deps)
		if rec.Outcome != record.Stayed || !errors.Is(err, context.Canceled) {
			t.Errorf("outcome %q, %v", rec.Outcome, err)
		}
		if rec.Verified.Source != "running (migration-canceled)" || rec.Verified.Target != "absent" {
			t.Errorf("verified %+v", rec.Verified)
		}
		if !slices.ContainsFunc(rec.Steps, func(s record.Step) bool { return s.Name == "abort" }) {
			t.Errorf("steps %+v", rec.Steps)
		}
	})
}

func TestCancelTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		ctx, cancel := context.WithCancel(t.Context())
		p.Source.Migrate = func(context.Context) error {
			p.Copy()
			p.Halt()
			cancel()
			time.Sleep(100 * time.Millisecond)
			p.Switchover()
			return nil
		}
		rec, err := Move(ctx, p.req, p.deps)
		select {
		case <-p.Source.Aborted:
			t.Error("a guest that stood still already was not left to arrive")
		default:
		}
		if rec.Outcome != record.Moved || err != nil {
			t.Errorf("outcome %q, %v", rec.Outcome, err)
		}
	})
}

// TestNothingIsAskedInThePause keeps the guest paused for ten seconds.
func TestNothingIsAskedInThePause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.Source.Migrate = func(context.Context) error {
			p.Copy()
			p.Halt()
			synctest.Wait()
			before := p.Source.Polls
			time.Sleep(10 * time.Second)
			if p.Source.Polls != before || len(p.Source.Limits) != 1 {
				t.Errorf("%d questions and %d limits in the pause", p.Source.Polls-before, len(p.Source.Limits))
			}
			p.Switchover()
			return nil
		}
		if _, err := Move(t.Context(), p.req, p.deps); err != nil {
			t.Error(err)
		}
	})
}

func TestWithoutEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.Source.WatchErr, p.Target.WatchErr = libvirt.ErrUnsupported, libvirt.ErrUnsupported
		p.Source.LimitErr = libvirt.ErrUnsupported
		rec, err := Move(t.Context(), p.req, p.deps)
		if err != nil || rec.PauseMS != nil || rec.Verified.SameBoot != nil || len(rec.Notes) != 2 ||
			len(rec.DowntimeLimitsMS) != 0 {
			t.Errorf("%+v, %v", rec, err)
		}
	})
}

func TestPausedGuestIsMovedPaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.Source.Is(stopped("user"))
		p.Source.Migrate = func(context.Context) error {
			p.Target.Is(stopped("user"))
			p.Source.Answer(libvirt.ErrNoDomain)
			return nil
		}
		rec, err := Move(t.Context(), p.req, p.deps)
		if err != nil || rec.Outcome != record.Moved || p.Target.Resumes != 0 {
			t.Errorf("outcome %q, %v", rec.Outcome, err)
		}
	})
}

// TestSecondMoveWaits runs two moves of one guest: the second waits for the slot, and then
// finds the guest moved.
func TestSecondMoveWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		first := make(chan error, 1)
		go func() { _, err := Move(t.Context(), p.req, p.deps); first <- err }()
		time.Sleep(time.Second)
		var waited bool
		req := p.req
		req.Progress = func(pr Progress) { waited = waited || pr.Phase == "waiting for slot" }
		rec, err := Move(t.Context(), req, p.deps)
		if err := errors.Join(err, <-first); err != nil || rec.Outcome != record.Moved || !waited {
			t.Errorf("outcome %q, waited %v, %v", rec.Outcome, waited, err)
		}
		if len(p.Source.Limits) != 1 {
			t.Error("it was migrated twice")
		}
	})
}

func TestReserve(t *testing.T) {
	for window, want := range map[time.Duration]time.Duration{
		time.Second: 2 * time.Second, 20 * time.Second: 2500 * time.Millisecond, time.Hour: 10 * time.Second,
		-time.Second: 2 * time.Second,
	} {
		if got := reserveOf(window); got != want {
			t.Errorf("reserve of %v is %v, want %v", window, got, want)
		}
	}
}
