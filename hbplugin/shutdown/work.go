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

// Seen is what the manager and the processes said in one look; each has its own error.
type Seen struct {
	view    hbplugin.View
	viewErr error
	here    []string
	hereErr error
	adrift  []string // those of here that the manager is not configured to run, for certain
}

// LookAt asks for what the manager has here, and for the guests that have a process here, at once, so that one who does
// not answer takes no time from the other. claims are those of the manager, wherever they are; nil where nobody knows.
func LookAt(
	ctx context.Context, view func(context.Context) (hbplugin.View, error),
	here func(context.Context) ([]string, error),
	claims func(context.Context) ([]hbplugin.Claim, error),
) (s Seen) {
	var wait sync.WaitGroup
	wait.Go(func() { s.view, s.viewErr = view(ctx) })
	wait.Go(func() { s.here, s.hereErr = here(ctx) })
	wait.Wait()
	extra := beside(s.here, s.view.Guests)
	if len(extra) > 0 && s.view.Running && s.viewErr == nil && claims != nil {
		if all, err := claims(ctx); err == nil {
			s.adrift = Adrift(extra, all)
		}
	}
	return s
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
		var seen *Seen // nil where systemd alone was asked
		var stopping bool
		var err error
		var wait sync.WaitGroup
		wait.Go(func() { stopping, err = r.o.Stopping(within) })
		if what == LookAll {
			s := LookAt(within, r.o.Manager.View, r.o.Here, r.o.Claims)
			seen = &s
		}
		wait.Wait()
		took := time.Since(begun)
		_ = r.post(ctx, func(r *round) { r.saw(era, took, answer(stopping, err), seen) }) // unless the loop has ended
	})
}

// beside are the guests with a process here that the manager does not have here. Most are about to leave, or to end.
func beside(here []string, managed []hbplugin.Guest) []string {
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
func (r *round) saw(era int, took time.Duration, stopping Answer, seen *Seen) {
	r.looking = false
	if era != r.era {
		return
	}
	r.took = took
	r.seen.Heard, r.seen.Stopping = true, stopping
	if seen != nil {
		r.seen.Update(*seen)
		r.met(r.seen.Guests)
	}
}

// Update takes in what the manager and the processes say.
func (o *Observed) Update(s Seen) {
	o.Looked = true
	o.Running, o.Standby = answer(s.view.Running, s.viewErr), s.view.Standby
	o.Guests = union(s.view.Guests, s.here, s.adrift)
	o.Most = max(o.Most, len(o.Guests))
	o.Blind = ""
	if err := errors.Join(s.viewErr, s.hereErr); err != nil {
		o.Blind = verdict.OneLine(err)
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
		err := Perform(within, r.o.Manager, r.o.Intent, act)
		_ = r.post(ctx, func(r *round) { r.did(act, err) }) // unless the loop has ended
	})
}

// Perform notes first and asks second, and takes back in the other order, so
// that no standby of ours is ever without its note.
func Perform(ctx context.Context, m hbplugin.Manager, note Intent, act Act) error {
	switch act {
	case SetStandby:
		if err := note.Set(); err != nil {
			return err
		}
		return m.Standby(ctx)
	case ClearStandby:
		if err := m.Unstandby(ctx); err != nil {
			return err
		}
	}
	return note.Clear()
}

// did takes in what became of an act. A standby that was requested is ours
// even when the asking failed: the request may be in effect all the same.
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
