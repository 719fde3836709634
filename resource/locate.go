package resource

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/mirror"
	"github.com/vmferry/vmferry/migrate/shellword"
	"github.com/vmferry/vmferry/migrate/wait"
	"github.com/vmferry/vmferry/resource/elsewhere"
	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/observe"
	"github.com/vmferry/vmferry/resource/ocf"
)

const (
	// askPause is between two rounds of questions about a guest that is on its way.
	askPause = time.Second
	// arrivalTime is how long a start waits for a guest that seems to arrive, before it asks whether anybody still
	// sends it.
	arrivalTime = 10 * time.Second
)

// starter is a start under way.
type starter struct {
	*run
	aborted bool             // a migration from here was aborted, as far as that is possible
	awaited bool             // that the guard is waited for was logged
	lost    *mirror.Decision // what was lost of a guest that was started from the replica of its disks
}

// location is where a guest is that is to be started.
type location struct {
	observe.Observation                    // here
	elsewhere           elsewhere.Decision // of use only where nothing of the guest is here, or for a Fetch
	by                  elsewhere.Answer   // the answer that decided
}

// startStep is what a start does next to find out where the guest is.
type startStep int

const (
	startTakeIt     startStep = iota // what is seen here is final
	startAbort                       // it may be leaving, and is wanted here: abort the migration
	startResume                      // a killed start has begun to fetch it: ask the source whether it still sends
	startAskPeers                    // it is not here: ask the other nodes
	startAwaitLease                  // it is not here, and this node's guard lets no guest run here yet
)

// startFacts is all that decideStart looks at.
type startFacts struct {
	observe.Observation
	leaves  bool  // a migrate_to was begun, its outcome is unknown, and it was not aborted yet or cannot be
	fetches bool  // a fetch of the guest was begun, and its outcome is unknown
	late    bool  // there is no time to wait for what is on its way
	barred  error // why this node's guard lets no guest run here; nil where it does
}

// decideStart is the rule for the next step. In post-copy a migration cannot be aborted, and the guest is brought back
// when it has gone.
func decideStart(f startFacts) startStep {
	switch {
	case f.late && !f.IsGone():
		return startTakeIt
	case f.IsRunning() && f.leaves:
		return startAbort
	case f.State == observe.Incoming && f.fetches:
		return startResume
	case f.IsGone() && f.LibvirtErr == nil && f.barred != nil:
		return startAwaitLease
	case f.IsGone() && f.LibvirtErr == nil:
		return startAskPeers
	}
	return startTakeIt
}

// locate looks here and on the other nodes until it is known where the guest is, as far as the action's time allows.
func (s *starter) locate(ctx context.Context) (l location, err error) {
	for {
		if l.Observation, err = s.claim(ctx, s.ready(ctx)); err != nil {
			return l, err
		}
		final := false
		facts := s.facts(ctx, l.Observation)
		switch decideStart(facts) {
		case startTakeIt:
			l.elsewhere = elsewhere.Refuse
			return l, nil
		case startAbort:
			s.abortOnce(ctx)
		case startResume:
			final, err = s.askSource(ctx, &l)
		case startAskPeers:
			final, err = s.askPeers(ctx, &l)
			final = final || facts.late
		case startAwaitLease:
			if s.awaitsLease(); facts.late {
				return l, s.refusedByGuard(facts.barred)
			}
		}
		if final || err != nil || wait.For(ctx, askPause) != nil {
			return l, err
		}
	}
}

func (s *starter) facts(ctx context.Context, o observe.Observation) startFacts {
	i, pending, err := s.pending()
	var barred error
	if o.IsGone() {
		barred = s.mayRun(ctx)
	}
	return startFacts{
		barred:      barred,
		Observation: o,
		leaves: err == nil && pending && i.Way == notes.Outward &&
			(o.Libvirt == observe.PausedPostCopy || !s.aborted),
		fetches: s.fetchesFrom(o) != "",
		late:    time.Since(s.began) >= s.budget.wait,
	}
}

func (s *starter) abortOnce(ctx context.Context) {
	if !s.aborted {
		s.broken.abort(ctx)
	}
	s.aborted = true
}

// ready looks until the guest can be started, or is seen to run.
func (s *starter) ready(ctx context.Context) observe.Observation {
	o := s.guest.WaitUntil(ctx, time.Now().Add(arrivalTime), isReadyToStart)
	if !isReadyToStart(o) && ctx.Err() == nil {
		o = s.killArrival(ctx, o)
	}
	if !isReadyToStart(o) && ctx.Err() == nil && s.fetchesFrom(o) == "" {
		o, _ = s.guest.WaitFor(ctx, isReadyToStart)
	}
	return s.guest.WaitReboot(ctx, o, s.until(s.budget.stable))
}

// isReadyToStart waits for libvirt, which may itself be starting, and for a guest that a
// migration is bringing. All else is decided at once.
func isReadyToStart(o observe.Observation) bool {
	return o.IsGone() && o.LibvirtErr == nil || o.IsRunning() || o.State == observe.Stalled
}

// askPeers asks the other nodes once; final reports whether another round could say nothing else.
func (s *starter) askPeers(ctx context.Context, l *location) (final bool, err error) {
	l.elsewhere, l.by, err = s.ask(ctx)
	switch {
	case err != nil:
		return true, err
	case l.elsewhere == elsewhere.Wait:
		s.cluster.Once("wait for "+l.by.Node, func() {
			s.Log.WithField("peer", l.by.Node).Infof("waiting for what is on its way: the guest is %s (%s) there",
				l.by.Status.State, l.by.Status.Reason)
		})
		return false, nil
	case l.elsewhere == elsewhere.Refuse: // unless it has set out for here meanwhile
		return s.guest.Look(ctx).IsGone(), nil
	}
	return true, nil
}

// askSource asks the node that a guest is fetched from; final reports whether that still has it. What a
// source has left that was fenced, or has dropped it, is removed by libvirt here: it is waited for, and a migration
// from there could only fail.
func (s *starter) askSource(ctx context.Context, l *location) (final bool, err error) {
	from := s.fetchesFrom(l.Observation)
	_, by, err := s.ask(ctx)
	final = strings.EqualFold(by.Node, from) && (by.Presence == elsewhere.Running || by.Presence == elsewhere.Moving)
	l.by = elsewhere.Answer{
		Question: elsewhere.Question{Node: from}, Presence: elsewhere.Running, Status: libvirt.Status{UUID: l.UUID()},
	}
	if final || err != nil {
		l.elsewhere = elsewhere.Fetch
	}
	return final, err
}

// ask asks all other nodes once, and decides by their answers.
func (s *starter) ask(ctx context.Context) (elsewhere.Decision, elsewhere.Answer, error) {
	i, pending, err := s.pending()
	if err != nil {
		return elsewhere.Refuse, elsewhere.Answer{}, ocf.Wrapf(ocf.Generic, err,
			"guest %q not started: the note about its last migration cannot be read", s.guest.Name)
	}
	peer := ""
	if pending {
		peer = i.Peer
	}
	d, by := elsewhere.Decide(s.cluster.Ask(ctx, peer), func(node string) bool { return s.mayFetch(node, i, pending) })
	return d, by, nil
}

// fetchesFrom is the node from which the guest is arriving here, where a start that was killed has begun that: nobody
// sees to it that it ends, so this start does. It is empty for any other guest.
func (s *starter) fetchesFrom(o observe.Observation) string {
	i, pending, err := s.pending()
	if o.State != observe.Incoming || err != nil || !pending || i.Way != notes.Inward ||
		!s.mayFetch(i.Peer, i, pending) {
		return ""
	}
	return i.Peer
}

// mayFetch reports whether a guest that runs on the node is to be brought here, live. That is so for a manager which
// never looks where a guest runs. And it is so where a migration between the two nodes is all that took it there: a
// move that is withdrawn while it is under way has Pacemaker start the guest on its old node, although it runs on the
// new one by then. A refusal would ban the old node. A guest that somebody started elsewhere is not touched.
func (s *starter) mayFetch(node string, i notes.Intent, pending bool) bool {
	if s.Fetch {
		return true
	}
	begun := pending && i.IsWith(node) && i.IsRecent(time.Now())
	return s.Params.Ladder.MovesLive() && (begun || s.hasDeparted(node))
}

// killArrival ends what a migration to here has left whose source is gone: Xen's driver waits for the rest of the
// guest for ever. It never ran here, so that nothing is lost with it. A guest that another node may have is not
// touched.
func (s *starter) killArrival(ctx context.Context, o observe.Observation) observe.Observation {
	if !isArrival(s.guest.Driver(), o, s.isNoted()) {
		return o
	}
	d, by, err := s.ask(ctx)
	if err == nil && d != elsewhere.Start {
		err = s.refusal(by)
	}
	if err != nil {
		s.Log.WithError(err).Info("the rest of an incoming migration is not removed")
		return o
	}
	for _, p := range o.Processes {
		if s.guest.IsOther(p.UUID) {
			return o
		}
		s.Log.Warnf("killing %v, in which the guest was arriving from a node that does not send it any more", p)
		if err := s.Processes.Kill(ctx, p, 0); err != nil {
			s.Log.WithError(err).Warn("what was left of a migration to here could not be killed")
		}
	}
	return s.guest.Look(ctx)
}

// refusal is why the guest is not started.
func (s *starter) refusal(by elsewhere.Answer) error {
	if by.Presence == elsewhere.Unanswered {
		return ocf.Wrapf(ocf.Generic, by.Err, "guest %q not started: a migration between this node and %s was begun, "+
			"its outcome is unknown, and libvirt on %s does not answer: start libvirtd there, or fence the node; "+
			"if you know that the guest is not there, remove the note: rm %s",
			s.guest.Name, by.Node, by.Node, shellword.Word(s.notes.Intents.Path(s.Instance)))
	}
	there := &elsewhere.PresentError{Node: by.Node, Status: by.Status, Guest: s.guest.Name, Resource: s.Instance}
	return ocf.Wrapf(ocf.Generic, there, "guest %q not started", s.guest.Name)
}

// claim makes sure before a start that the guest's name is free for it here. A UUID that libvirt made has ended
// with its guest: this start gives the guest another one, and any node may have done so, so that it goes by its
// name again.
func (s *starter) claim(ctx context.Context, o observe.Observation) (observe.Observation, error) {
	switch {
	case o.State != observe.NotRunning || o.LibvirtErr != nil:
		return o, nil
	case o.Namesake != nil && (o.Namesake.State.Active() || !s.hasMadeUUID):
		return o, nameTaken(s.Params.Hypervisor, s.guest.Identity, *o.Namesake)
	case s.hasMadeUUID:
		s.guest.UUID, s.hasMadeUUID = "", false
		return s.guest.Look(ctx), nil
	}
	return o, nil
}

// nameTaken is why the guest is not started: libvirt has another one of its name.
func nameTaken(uri string, guest observe.Identity, other libvirt.Status) error {
	uri = shellword.Word(uri)
	to := fmt.Sprintf("to remove that definition, type virsh -c %s undefine --keep-nvram --keep-tpm %s; "+
		"if both are one guest, write <uuid>%s</uuid> in its file",
		uri, other.UUID, other.UUID)
	if other.State.Active() {
		to = fmt.Sprintf("to end that one, type virsh -c %s shutdown %s, or rename one of them", uri, other.UUID)
	}
	return ocf.Errorf(ocf.Generic, "guest %q with UUID %s not started: "+
		"libvirt has another guest of this name, %s, with UUID %s: %s",
		guest.Name, guest.UUID, other.State, other.UUID, to)
}
