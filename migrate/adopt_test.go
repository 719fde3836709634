package migrate

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/preflight"
	"github.com/vmferry/vmferry/migrate/record"
)

// underWay is a pair whose migration was begun by somebody who is gone: it ends after a second
// as end says.
func underWay(t *testing.T, end func(*pair)) *pair {
	p := newPair(t)
	p.req.Adopt = true
	p.Source.SetJob(libvirt.JobStats{Active: true, Iteration: 1})
	p.Target.Is(stopped("migration"))
	go func() { time.Sleep(time.Second); end(p) }()
	return p
}

func TestAdoptSeesAMigrationThrough(t *testing.T) {
	for _, c := range []struct {
		name  string
		deaf  error // why the target cannot be reached at first
		end   func(*pair)
		begun bool // a migration of our own was made
	}{
		{"it moves the guest", nil, (*pair).Switchover, false},
		{"it fails, and the guest is moved by another", nil, (*pair).Cancelled, true},
		{"the target gives no answer for a while", errors.New("connection refused"), (*pair).Switchover, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := underWay(t, func(p *pair) { p.Target.Refuse(nil); c.end(p) })
				p.Target.Refuse(c.deaf)
				begun := false
				p.Source.Migrate = func(context.Context) error { begun = true; p.Copy(); p.Switchover(); return nil }
				rec, err := Move(t.Context(), p.req, p.deps)
				if err != nil || rec.Outcome != record.Moved || begun != c.begun {
					t.Errorf("outcome %v, restarted %v, error %v", rec.Outcome, begun, err)
				}
			})
		})
	}
}

// A job that is under way and that we did not begin is somebody else's.
func TestJobOfAnotherIsNotAdopted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.Source.SetJob(libvirt.JobStats{Active: true})
		_, err := Move(t.Context(), p.req, p.deps)
		var refusal *preflight.Refusal
		if !errors.As(err, &refusal) || refusal.Check != preflight.CheckJob {
			t.Errorf("error %v, want a refusal for the job", err)
		}
	})
}

// What would come too late is aborted, and the guest stays.
func TestAdoptedMigrationIsAbortedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.req.Adopt = true
		p.Source.SetJob(libvirt.JobStats{Active: true, Iteration: 1})
		p.Target.Is(stopped("migration"))
		go func() { <-p.Source.Aborted; p.Cancelled() }()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		rec, err := Move(ctx, p.req, p.deps)
		if !errors.Is(err, ErrOutOfTime) || rec.Outcome != record.Stayed {
			t.Errorf("outcome %v, error %v", rec.Outcome, err)
		}
	})
}

// A guest that a dead migration left paused is not moved: the target may have run it.
func TestLeftPausedIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.req.Adopt = true
		p.Source.Is(stopped("migration"))
		_, err := Move(t.Context(), p.req, p.deps)
		var refusal *preflight.Refusal
		if !errors.As(err, &refusal) || refusal.Check != preflight.CheckRunning {
			t.Errorf("error %v, want a refusal", err)
		}
	})
}
