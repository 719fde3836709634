package resource

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/shellword"
	"github.com/vmferry/vmferry/resource/notes"
)

// askPause is between two rounds of questions about a guest that is on its way.
const askPause = time.Second

// proof is the search for the guest before a start, here and on all other nodes.
//
// The cluster manager has asked our agent on each node already, and it fences a node that
// did not answer. What it cannot know of is a guest that was moved or started behind its back,
// so each peer's libvirt is asked once more. One that gives no answer is believed to be as the
// manager left it, unless the guest was on its way to or from there.
type proof struct {
	*run
	told map[string]bool // what was logged, which each round would say again
}

// find looks until it is settled where the guest is, as far as the action's time allows. The course is of use only
// where o says that nothing of the guest is here, and libvirt answers here.
func (p *proof) find(ctx context.Context) (o observation, c course, by heard, err error) {
	for {
		o, err = p.claim(ctx, p.ready(ctx))
		late := time.Since(p.began) >= p.budget.wait
		switch {
		case err != nil || late && o.verdict != notRunning:
			return o, giveBack, by, err
		case o.verdict == running && p.isLeaving(ctx, o):
		case p.fetchesFrom(o) != "":
			var sends bool
			if by, sends, err = p.sender(ctx, o); sends || err != nil {
				return o, bringIt, by, err
			}
		case o.verdict != notRunning || o.libErr != nil:
			return o, giveBack, by, nil
		default:
			var settled bool
			if c, by, settled, err = p.elsewhere(ctx); settled || late {
				return o, c, by, err
			}
		}
		if !pause(ctx, askPause) {
			return o, c, by, nil
		}
	}
}

// elsewhere asks all peers once; settled tells whether another round could say nothing else.
func (p *proof) elsewhere(ctx context.Context) (c course, by heard, settled bool, err error) {
	c, by, err = p.round(ctx)
	switch {
	case err != nil:
		return c, by, true, err
	case c == holdOn:
		p.once("hold "+by.node, func() {
			p.Log.WithField("peer", by.node).Infof("waiting for what is on its way: the guest is %s (%s) there",
				by.status.State, by.status.Reason)
		})
		return c, by, false, nil
	case c == giveBack: // unless it has set out for here meanwhile
		return c, by, p.look(ctx).verdict == notRunning, nil
	}
	return c, by, true, nil
}

// fetchesFrom is the node from which the guest is arriving here, where a start that was killed has begun that: nobody
// sees to it that it ends, so this start does. It is empty for any other guest.
func (a *run) fetchesFrom(o observation) string {
	i, pending, err := a.pending()
	if o.verdict != incoming || err != nil || !pending || i.Way != notes.Inward || !a.mayFetch(i.Peer, i, pending) {
		return ""
	}
	return i.Peer
}

// sender is the node that a guest which fetchesFrom tells of comes from; sends tells whether that has it still. What a
// source has left that was fenced, or has let go of it, is dropped by libvirt here: it is waited for, and a migration
// from there could only fail.
func (p *proof) sender(ctx context.Context, o observation) (by heard, sends bool, err error) {
	from := p.fetchesFrom(o)
	_, by, err = p.round(ctx)
	sends = strings.EqualFold(by.node, from) && (by.word == runsThere || by.word == unsettled)
	return heard{question: question{node: from}, word: runsThere, status: libvirt.Status{UUID: o.uuid()}}, sends, err
}

// isLeaving tells whether a guest that is here may go, by a migration that an agent which was killed has begun. It is
// called off: the guest is wanted here. In post-copy it cannot be, and the guest is brought back when it has gone.
func (p *proof) isLeaving(ctx context.Context, o observation) bool {
	i, pending, err := p.pending()
	if err != nil || !pending || i.Way != notes.Outward {
		return false
	}
	leaving := o.answer == postCopySource
	p.once("leaving", func() {
		p.callOff(ctx)
		leaving = true // as long as that takes
	})
	return leaving
}

// round asks all peers once, at the same time.
func (p *proof) round(ctx context.Context) (course, heard, error) {
	i, pending, err := p.pending()
	if err != nil {
		return giveBack, heard{}, because(Generic, err,
			"guest %q not started: the note about its last migration cannot be read", p.guest.Name)
	}
	since := notes.Uptime()
	all := questions(p.Node, p.roster(ctx), i, pending)
	said := make([]heard, len(all))
	var wait sync.WaitGroup
	for n, q := range all {
		wait.Go(func() { said[n] = p.put(ctx, q, since) })
	}
	wait.Wait()
	for _, h := range said {
		p.report(h)
	}
	c, by := decide(said, func(node string) bool { return p.mayFetch(node, i, pending) })
	return c, by, nil
}

// report says what is not proven of a peer that gave no answer.
func (p *proof) report(h heard) {
	if h.err == nil || h.word != hasNot {
		return
	}
	p.once("mute "+h.node, func() {
		log := p.Log.WithError(h.err).WithField("peer", h.node)
		if h.left {
			log.Info("the peer left the cluster in order, and its libvirt gives no answer")
			return
		}
		log.Warn("that the guest does not run on the peer is not proven, as its libvirt gives no answer: " +
			"the cluster manager's word counts")
	})
}

func (p *proof) once(what string, say func()) {
	if p.told == nil {
		p.told = make(map[string]bool)
	}
	if !p.told[what] {
		p.told[what] = true
		say()
	}
}

// put asks one peer.
func (p *proof) put(ctx context.Context, q question, since time.Duration) heard {
	status, err := p.ask(ctx, q, since)
	switch {
	case err == nil:
		return heard{question: q, word: wordOf(status), status: status}
	case errors.Is(err, libvirt.ErrNoDomain):
		return heard{question: q}
	case q.must:
		return heard{question: q, word: mustTell, err: err}
	}
	return heard{question: q, err: err}
}

// ask returns the guest's status on a peer; the error is libvirt.ErrNoDomain where it is not active there.
func (p *proof) ask(ctx context.Context, q question, since time.Duration) (libvirt.Status, error) {
	to, err := p.routes.To(ctx, q.node)
	if err != nil {
		return libvirt.Status{}, err
	}
	var guests []libvirt.Resident
	if limit := q.limit(p.budget.call); q.must { // nobody shares its patience
		soft, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		guests, err = p.residents(soft, to.URI)
	} else {
		guests, err = census{p.notes, notes.Uptime}.ask(ctx, to.URI, since, limit, p.residents)
	}
	if err != nil {
		return libvirt.Status{}, err
	}
	ref, ok := p.among(guests)
	if !ok {
		return libvirt.Status{}, libvirt.ErrNoDomain
	}
	ctx, cancel := context.WithTimeout(ctx, p.budget.call)
	defer cancel()
	status, err := p.statusAt(ctx, to.URI, ref)
	if err != nil { // it was there a moment ago, and where it is now is to be asked of all once more
		return libvirt.Status{State: libvirt.NoState, Reason: err.Error()}, nil
	}
	return status, nil
}

// among is what to ask libvirt for the guest by that is in a list of active ones.
func (a *run) among(guests []libvirt.Resident) (ref string, ok bool) {
	for _, g := range guests {
		if a.guest.UUID == "" && g.Name == a.guest.Name || a.guest.UUID != "" && strings.EqualFold(g.UUID, a.guest.UUID) {
			return libvirt.Ref(g.Name, g.UUID), true
		}
	}
	return "", false
}

// residents lists the active guests at a libvirt, over a connection of its own.
func (a *run) residents(ctx context.Context, uri string) ([]libvirt.Resident, error) {
	conn, err := a.Open(ctx, uri)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	return conn.Residents(ctx)
}

// mayFetch tells whether a guest that runs on the node is to be brought here, live. That is so for a manager which
// never looks where a guest runs. And it is so where a migration between the two nodes is all that took it there: a
// move that is withdrawn while it is under way has Pacemaker start the guest on its old node, although it runs on the
// new one by then. A refusal would ban the old node. A guest that somebody started elsewhere is not touched.
func (a *run) mayFetch(node string, i notes.Intent, pending bool) bool {
	if a.Fetch {
		return true
	}
	begun := pending && i.IsWith(node) && i.IsRecent(time.Now())
	return a.Params.MayUse(ladder.Live) && (begun || a.hasDeparted(node))
}

// refusal is why the guest is not started.
func (a *run) refusal(by heard) error {
	if by.word == mustTell {
		return because(Generic, by.err, "guest %q not started: a migration between this node and %s was begun, "+
			"its end is not known, and %s cannot be asked: make its libvirt answer, or fence the node; if you know that the guest is not there, remove the note: rm %s",
			a.guest.Name, by.node, by.node, shellword.Word(a.notes.Intents.Path(a.Instance)))
	}
	return because(Generic, &elsewhere{by.node, by.status, a.guest.Name, a.Instance}, "guest %q not started", a.guest.Name)
}

// fetch moves the guest here from the node that has it, live. A manager that takes the guest for stopped
// would else take the failed start for a failed node.
func (a *run) fetch(ctx context.Context, from heard) error {
	if a.Node == "" {
		return because(Generic, a.refusal(from),
			"guest %q cannot be fetched, as this node's own name is not known", a.guest.Name)
	}
	source, err := a.routes.To(ctx, from.node)
	if err != nil {
		return because(Configured, err, "guest %q cannot be fetched from %s", a.guest.Name, from.node)
	}
	own, err := a.routes.To(ctx, a.Node)
	if err != nil {
		return because(Configured, err, "guest %q cannot be fetched to %s", a.guest.Name, a.Node)
	}
	adopt, err := a.beginMove(notes.Inward, from.node, from.status.UUID)
	if err != nil {
		return err
	}
	m := a.Params.Move(a.guest.Name, from.status.UUID, own)
	m.SourceURI, m.Fetch, m.Relay = source.URI, true, false
	m.Adopt = adopt // begun by a start that was killed
	soft, cancel := a.at(ctx, a.budget.migrate)
	defer cancel()
	a.Log.WithField("peer", from.node).Info("the guest runs there already: moving it here")
	if err := a.Migrate(soft, m); err != nil {
		return because(Generic, err, "guest %q could not be fetched from %s", a.guest.Name, from.node)
	}
	return nil
}
