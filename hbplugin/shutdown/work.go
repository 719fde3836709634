package shutdown

import (
	"cmp"
	"context"
	"errors"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/verdict"
)

// looked is what a look found; each part has its own error.
type looked struct {
	all      bool // the manager and the processes were asked too
	stopping bool
	sysErr   error
	view     hbplugin.View
	viewErr  error
	here     []string
	hereErr  error
	adrift   []string // those of here that the manager is not configured to run, for certain
	era      int      // the state of affairs in which it was begun
	took     time.Duration
}

// look starts a look unless one is under way or the last is fresh. It happens
// in a goroutine of its own: the loop answers the watchdog meanwhile.
func (r *round) look(ctx context.Context, what Look) {
	if r.looking || r.now.Sub(r.lookedAt) < r.every() {
		return
	}
	r.looking, r.lookedAt = true, r.now
	era, begun := r.era, r.now
	r.work.Go(func() {
		within, cancel := context.WithTimeout(ctx, lookTimeout)
		defer cancel()
		res := lookAt(within, r.o, what)
		res.era, res.took = era, time.Since(begun)
		_ = r.post(ctx, func(r *round) { r.saw(res) }) // unless the loop has ended
	})
}

// lookAt asks everybody at once, so that one who does not answer takes no time
// from the others.
func lookAt(ctx context.Context, o Options, what Look) looked {
	res := looked{all: what == LookAll}
	var wait sync.WaitGroup
	wait.Go(func() { res.stopping, res.sysErr = o.Stopping(ctx) })
	if res.all {
		wait.Go(func() { res.view, res.viewErr = o.Manager.View(ctx) })
		wait.Go(func() { res.here, res.hereErr = o.Here(ctx) })
	}
	wait.Wait()
	if extra := Beside(res.here, res.view.Guests); len(extra) > 0 && res.view.Running && res.viewErr == nil && o.Claims != nil {
		if claims, err := o.Claims(ctx); err == nil {
			res.adrift = Adrift(extra, claims)
		}
	}
	return res
}

// Beside are the guests with a process here that the manager does not have here. Most are about to leave, or to end.
func Beside(here []string, managed []hbplugin.Guest) []string {
	return slices.DeleteFunc(slices.Clone(here), func(name string) bool {
		return slices.ContainsFunc(managed, func(g hbplugin.Guest) bool { return g.Name == name })
	})
}

// instance is the number that Pacemaker adds to the name of a clone's instance.
var instance = regexp.MustCompile(`:[0-9]+$`)

// Adrift are the guests, by their resource's name, that nobody claims: the resource was deleted while they ran, and
// nobody will move them or stop them.
func Adrift(names []string, claims []hbplugin.Claim) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return slices.ContainsFunc(claims, func(c hbplugin.Claim) bool {
			return c.Resource == name || c.Resource == instance.ReplaceAllString(name, "")
		})
	})
}

// saw takes in a look. One that was begun before a shutdown was announced or
// called off is stale: a new one is begun at once.
func (r *round) saw(res looked) {
	r.looking = false
	if res.era != r.era {
		return
	}
	r.took = res.took
	s := &r.seen
	s.Heard, s.Stopping = true, answer(res.stopping, res.sysErr)
	if !res.all {
		return
	}
	s.Update(res.view, res.viewErr, res.here, res.hereErr, res.adrift)
	r.met(s.Guests)
}

// Update takes in what the manager and the processes say. adrift are those of here that nobody will move.
func (s *Observed) Update(view hbplugin.View, viewErr error, here []string, hereErr error, adrift []string) {
	s.Looked = true
	s.Running, s.Standby = answer(view.Running, viewErr), view.Standby
	s.Guests = union(view.Guests, here, adrift)
	s.Most = max(s.Most, len(s.Guests))
	s.Blind = ""
	if err := errors.Join(viewErr, hereErr); err != nil {
		s.Blind = verdict.OneLine(err)
	}
}

func answer(yes bool, err error) Answer {
	switch {
	case err != nil:
		return Unknown
	case yes:
		return Yes
	}
	return No
}

// deleted is why a guest without a resource does not move.
const deleted = "no longer a resource of the cluster"

// union joins what the manager says with what the processes say. Whatever
// either of them knows of is here. Nobody will move those that are adrift.
func union(managed []hbplugin.Guest, here, adrift []string) []hbplugin.Guest {
	all := slices.Clone(managed)
	for _, name := range here {
		if !slices.ContainsFunc(all, func(g hbplugin.Guest) bool { return g.Name == name }) {
			g := hbplugin.Guest{Name: name}
			if slices.Contains(adrift, name) {
				g.Stuck = deleted
			}
			all = append(all, g)
		}
	}
	slices.SortFunc(all, func(a, b hbplugin.Guest) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// act starts an act unless one is under way or the last was a moment ago.
func (r *round) act(ctx context.Context, act Act) {
	if r.acting || r.now.Sub(r.actedAt) < actAgain {
		return
	}
	r.acting = true
	r.work.Go(func() {
		within, cancel := context.WithTimeout(ctx, actTimeout)
		defer cancel()
		err := perform(within, r.o, act)
		_ = r.post(ctx, func(r *round) { r.did(act, err) }) // unless the loop has ended
	})
}

// perform notes first and asks second, and takes back in the other order, so
// that no standby of ours is ever without its note.
func perform(ctx context.Context, o Options, act Act) error {
	switch act {
	case SetStandby:
		if err := o.Intent.Set(); err != nil {
			return err
		}
		return o.Manager.Standby(ctx)
	case ClearStandby:
		if err := o.Manager.Unstandby(ctx); err != nil {
			return err
		}
	}
	return o.Intent.Clear()
}

// did takes in what became of an act. A standby that was requested is ours
// even when the asking failed: it may have been heard all the same.
func (r *round) did(act Act, err error) {
	r.acting, r.actedAt = false, r.now
	log := r.o.Log.WithField("manager", r.o.Manager.String())
	if act == SetStandby {
		r.seen.Ours, r.seen.Tried = true, true
	}
	switch {
	case act == SetStandby && err != nil:
		log.WithError(err).Error("the node could not be put into standby")
	case act == SetStandby:
		log.Info("the node is being put into standby")
	case err != nil:
		log.WithError(err).Error("standby could not be cleared")
	default:
		r.seen.Ours = false
		log.Info("standby is cleared: guests may come back")
	}
}
