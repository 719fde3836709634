package migrate

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/preflight"
	"github.com/vmferry/vmferry/migrate/record"
)

func says(text string) error {
	return &libvirt.Error{Op: "rehearse", URI: sourceURI, Message: text}
}

func TestMoveIsManagedWhereTheDaemonDoesNotReachTheTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.Source.Rehearsal = func(params libvirt.MigrateParams) error {
			if params.Managed {
				return nil
			}
			return says("Host key verification failed")
		}
		rec, err := Move(t.Context(), p.req, p.deps)
		if err != nil || !p.Source.Params[0].Managed || len(rec.Notes) != 1 ||
			!strings.Contains(rec.Notes[0], "this process manages") {
			t.Errorf("managed %+v, notes %q, %v", p.Source.Params, rec.Notes, err)
		}
	})
	synctest.Test(t, func(t *testing.T) { // the usual way
		p := newPair(t)
		if _, err := Move(t.Context(), p.req, p.deps); err != nil || p.Source.Params[0].Managed {
			t.Errorf("managed %+v, %v", p.Source.Params, err)
		}
	})
}

// Two pre-flights of one guest are kept apart, and from its migration.
func TestRehearsalsAreKeptApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		var at, met atomic.Int32
		enter := func(d time.Duration) {
			if at.Add(1) > 1 {
				met.Add(1)
			}
			time.Sleep(d)
			at.Add(-1)
		}
		p.Source.Rehearsal = func(libvirt.MigrateParams) error { enter(50 * time.Millisecond); return nil }
		p.Source.Migrate = func(context.Context) error { enter(time.Second); p.Copy(); p.Switchover(); return nil }
		var wait sync.WaitGroup
		for range 3 {
			wait.Go(func() {
				if x, err := Examine(t.Context(), p.req, p.deps); err == nil && len(x.Refusals) != 0 {
					t.Errorf("%+v", x)
				}
			})
		}
		rec, err := Move(t.Context(), p.req, p.deps)
		wait.Wait()
		if met.Load() > 0 || err != nil || rec.Outcome != record.Moved {
			t.Errorf("%d were at it at once; outcome %q, %v", met.Load(), rec.Outcome, err)
		}
	})
}

// A lock that is held for long is another's move.
func TestAnotherMoveHoldsTheGuest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		held, err := p.deps.Slots.AcquireGuest(t.Context(), guestUUID)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Move(t.Context(), p.req, p.deps)
		var r *preflight.Refusal
		if !errors.As(err, &r) || r.Check != preflight.CheckJob {
			t.Errorf("%v", err)
		}
		held.Release()
		if _, err = Move(t.Context(), p.req, p.deps); err != nil {
			t.Error(err)
		}
	})
}

func TestDirectWayIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		tries := 0
		p.Source.Rehearsal = func(params libvirt.MigrateParams) error {
			if tries++; tries == 1 {
				return says("another migration job is already running")
			}
			return nil
		}
		if _, err := Move(t.Context(), p.req, p.deps); err != nil || p.Source.Params[0].Managed || tries != 3 {
			t.Errorf("managed %v after %d tries, %v", p.Source.Params[0].Managed, tries, err)
		}
	})
}

func TestRehearsalIsOfTheMigrationToCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		var asked []libvirt.MigrateParams
		p.Source.Rehearsal = func(params libvirt.MigrateParams) error { asked = append(asked, params); return says("no") }
		p.req.Unsafe, p.req.Options.Tunnelled = true, true
		_, err := Move(t.Context(), p.req, p.deps)
		var r *preflight.Refusal
		if !errors.As(err, &r) || r.Check != preflight.CheckLibvirt || len(asked) != 1 || !asked[0].Unsafe ||
			!asked[0].Tunnelled {
			t.Errorf("asked %+v, %v", asked, err)
		}
	})
}

func TestRehearsalWithoutAnAnswer(t *testing.T) {
	for _, c := range []struct {
		name  string
		err   error
		check string // "" where the move continues
	}{
		{"driver without it", &libvirt.Error{Code: 3, Kind: libvirt.ErrUnsupported}, ""},
		{"target swallows the connection", context.DeadlineExceeded, preflight.CheckConnection},
		{"guest moved meanwhile", libvirt.ErrNoDomain, preflight.CheckRunning},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := newPair(t)
			calls := 0
			p.Source.Rehearsal = func(libvirt.MigrateParams) error { calls++; return c.err }
			rec, err := Move(t.Context(), p.req, p.deps)
			var r *preflight.Refusal
			if errors.As(err, &r) != (c.check != "") || r != nil && r.Check != c.check || calls != 1 &&
				!errors.Is(c.err, libvirt.ErrNoDomain) {
				t.Errorf("%s: asked %d times, notes %q, %v", c.name, calls, rec.Notes, err)
			}
			if c.check == "" && len(rec.Notes) != 1 {
				t.Errorf("notes %q", rec.Notes)
			}
		})
	}
}

// The source's daemon does not notice that the target of a migration is gone which this process manages.
func TestManagedMoveNoticesItsTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.Source.Rehearsal = func(params libvirt.MigrateParams) error {
			if params.Managed {
				return nil
			}
			return says("Host key verification failed")
		}
		p.Source.Migrate = func(context.Context) error {
			p.Copy()
			p.Halt() // the last copy hangs
			p.Target.Answer(context.DeadlineExceeded)
			p.Target.Refuse(context.DeadlineExceeded)
			<-p.Source.Aborted
			p.Migration("cancelled")
			p.Source.SetJob(libvirt.JobStats{})
			p.Source.Is(runs("migration-canceled"))
			return errLibvirt
		}
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		rec, err := Move(ctx, p.req, p.deps)
		if rec.Outcome != record.Stayed || !errors.Is(err, ErrTargetSilent) || time.Since(began) > time.Minute {
			t.Errorf("outcome %q after %v, %v", rec.Outcome, time.Since(began), err)
		}
	})
}
