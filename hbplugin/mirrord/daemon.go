package mirrord

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/mirror"
	"github.com/vmferry/vmferry/migrate/mirror/source"
	"github.com/vmferry/vmferry/migrate/mirror/wire"
	"github.com/vmferry/vmferry/migrate/wait"
)

const (
	lookEvery = 2 * time.Second  // at the agent's notes
	sayEvery  = 10 * time.Second // how far a full sync is
	// stallTime bounds a round that does not get on: a replica may have to write gigabytes before it answers.
	stallTime = 5 * time.Minute
	// closeStall is the same for a close: a node that shuts down has no time to wait for one that hangs.
	closeStall = 20 * time.Second
	// atOnce bounds the rounds on this node, as each reads from the guests' disks.
	atOnce = 2
)

// Source makes a round of a guest by package source, or closes its mirror; the request is whole.
type Source func(ctx context.Context, g Guest, closes bool, q source.Request) (source.Result, error)

// Daemon mirrors the guests of this node.
type Daemon struct {
	// Quiet ends what a round that was cut short has left behind in a guest; nil: nothing does.
	Quiet func(ctx context.Context, g Guest) error

	guests func(ctx context.Context) ([]Guest, error)
	source Source
	dial   func(ssh []string) (stream, error)
	log    logrus.FieldLogger
	slots  chan struct{}

	mu  sync.Mutex
	all map[string]*mirrored // by resource, also those that have left: they may be closed yet
}

// New makes a Daemon. guests are those that are here; those that it returns beside an error are, too.
func New(guests func(context.Context) ([]Guest, error), source Source, log logrus.FieldLogger) *Daemon {
	return &Daemon{guests: guests, source: source, dial: dial, log: log, slots: make(chan struct{}, atOnce),
		all: map[string]*mirrored{}}
}

// mirrored is a guest, and how its rounds went.
type mirrored struct {
	poke   chan struct{}              // looks at the turn again
	orders chan func(context.Context) // which make a round
	stream stream                     // to the replica; nil where there is none
	peer   *source.Peer               // at its end
	slots  chan struct{}              // for rounds at once: the guests', or its own

	// The daemon's mutex is for what follows.
	Guest
	turn  turn
	abort context.CancelCauseFunc // the last round
	done  chan struct{}           // closed at its end; nil before the first
	last  Round
	sync  string // how far a full sync is
	err   error  // of the last round
	late  bool   // and said so
	// warned is what the last whole round did without, in words.
	warned string
	stale  bool // somebody else may have changed the replica since the stream was made
}

var (
	errHeld = errors.New("the rounds of this guest are held, as it is moved, or was stopped")
	errLeft = errors.New("the guest has left this node")
)

// Run makes rounds until ctx ends, and returns when those under way have ended.
func (d *Daemon) Run(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	for said := ""; ctx.Err() == nil; _ = wait.For(ctx, lookEvery) {
		guests, err := d.guests(ctx)
		if text := fmt.Sprint(err); text != said && ctx.Err() == nil {
			if said = text; err != nil {
				d.log.WithError(err).Error("a guest may not be mirrored")
			}
		}
		for _, m := range d.note(guests, err == nil) {
			all.Go(func() { d.mirror(ctx, m) })
		}
	}
}

// note takes in the guests that are here, and returns those that are new. Where whole is false there may be more.
func (d *Daemon) note(guests []Guest, whole bool) (fresh []*mirrored) {
	d.mu.Lock()
	defer d.mu.Unlock()
	here := map[string]bool{}
	for _, g := range guests {
		m := d.all[g.Resource]
		if m == nil {
			m = &mirrored{orders: make(chan func(context.Context)), poke: make(chan struct{}, 1), abort: func(error) {},
				turn: turn{gone: true}, slots: d.slots}
			if g.Path { // storage that hangs keeps no guest's round back
				m.slots = make(chan struct{}, 1)
			}
			d.all[g.Resource], fresh = m, append(fresh, m)
		}
		if m.turn.gone {
			m.turn = turn{since: time.Now()}
		}
		here[g.Resource], m.Guest, m.turn.every = true, g, g.Mirror.Every
	}
	for id, m := range d.all {
		if whole && !here[id] && !m.turn.gone {
			m.turn.gone = true
			m.abort(errLeft)
		}
		m.wake()
	}
	return fresh
}

// wake has the guest's turn looked at again.
func (m *mirrored) wake() {
	select {
	case m.poke <- struct{}{}:
	default:
	}
}

// drop ends the stream to the replica.
func (m *mirrored) drop() {
	if m.stream != nil {
		_ = m.stream.Close()
		m.stream = nil
	}
}

// quiet ends what a round has left behind that an earlier daemon began, or that could not undo it.
func (d *Daemon) quiet(ctx context.Context, m *mirrored) error {
	d.mu.Lock()
	g := m.Guest
	d.mu.Unlock()
	if d.Quiet == nil || g.Path {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, abortTime)
	defer cancel()
	return d.Quiet(ctx, g)
}

// order is what a round is to do: all that is due, or what somebody wants.
type order struct{ all, full, verify, closes bool }

// mirror makes the rounds of one guest.
func (d *Daemon) mirror(ctx context.Context, m *mirrored) {
	defer m.drop()
	_ = d.quiet(ctx, m) // as its first round may have to wait long
	for ctx.Err() == nil {
		d.mu.Lock()
		at, ok := m.turn.due()
		d.mu.Unlock()
		due := time.After(time.Until(at))
		if !ok {
			due = nil
			m.drop()
		}
		select {
		case <-ctx.Done():
		case <-m.poke:
		case makeRound := <-m.orders:
			makeRound(ctx)
		case <-due:
			d.round(ctx, m, order{})
		}
	}
}

// round makes one. A close waits for no slot, and who waits for one gives way to it: the agent has little time.
func (d *Daemon) round(ctx context.Context, m *mirrored, o order) Reply {
	if !o.closes {
		select {
		case m.slots <- struct{}{}:
			defer func() { <-m.slots }()
		case makeRound := <-m.orders:
			makeRound(ctx)
			return replyOf(Round{}, errors.New("another request came first"))
		case <-ctx.Done():
			return replyOf(Round{}, ctx.Err())
		}
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	limit := stallTime
	if o.closes {
		limit = closeStall
	}
	stall := time.AfterFunc(limit, func() { stop(fmt.Errorf("nothing was sent in %s", limit)) })
	defer stall.Stop()
	begun, done := time.Now(), make(chan struct{})
	defer close(done)
	d.mu.Lock()
	g, t, log := m.Guest, m.turn, d.log.WithFields(logrus.Fields{"guest": m.Name, "peer": m.Peer})
	if m.done, m.abort = done, stop; o.closes {
		m.abort = func(error) {} // by ctx alone
	}
	d.mu.Unlock()
	if !o.closes && (t.gone || t.held.After(begun)) {
		return replyOf(Round{}, errHeld)
	}
	if g.Path { // rsync sees to that
		stall.Stop()
	}
	q := source.Request{Guest: g.Name, UUID: g.UUID, Node: g.Node, To: g.Peer, Config: g.Config, Full: o.full, Verify: o.verify,
		Freeze: g.Mirror.Freeze}
	if !o.all {
		q.Due = func(target string) bool { return t.isDue(target, begun) }
	}
	said := begun
	q.Progress = func(full bool, done, total uint64) {
		stall.Reset(limit)
		if !full {
			return
		}
		text := progress(done, total, time.Since(begun))
		d.mu.Lock()
		m.sync = text
		d.mu.Unlock()
		if time.Since(said) >= sayEvery {
			said = time.Now()
			log.Info("full sync: " + text)
		}
	}
	r, err := d.send(ctx, m, g, o.closes, q)
	round := Round{Point: r.Point, Bytes: r.Bytes, TookS: time.Since(begun).Seconds(), Differ: len(r.Differences),
		Full: slices.ContainsFunc(r.Parts, func(p mirror.Part) bool { return p.Full })}
	d.end(m, r, round, begun, err, log)
	return replyOf(round, err)
}

// send has a round made over the guest's stream, which is made where there is none, and dropped where that fails.
func (d *Daemon) send(ctx context.Context, m *mirrored, g Guest, closes bool, q source.Request) (
	r source.Result, err error,
) {
	if g.Path {
		return d.source(ctx, g, closes, q)
	}
	d.mu.Lock()
	if m.stale {
		m.drop()
		m.stale = false
	}
	d.mu.Unlock()
	if m.stream == nil {
		s, err := d.dial(g.SSH)
		if err != nil {
			return r, err
		}
		m.stream, m.peer = s, &source.Peer{Stream: s}
	}
	q.Peer = m.peer
	if r, err = d.source(ctx, g, closes, q); err == nil {
		return r, nil
	}
	words := m.stream.Words
	m.drop()
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case isRefusal(err): // the program there writes the same
	case words() != "":
		err = fmt.Errorf("%w (%s)", err, words())
	}
	return r, err
}

func isRefusal(err error) bool {
	_, ok := errors.AsType[wire.Refused](err)
	return ok
}

// progress is how far a full sync is, in words.
func progress(done, total uint64, took time.Duration) string {
	rate := float64(max(done, 1)) / max(took.Seconds(), 1e-3) // bytes a second
	left := time.Duration(float64(max(total, done)-done)/rate) * time.Second
	return fmt.Sprintf("%.0f %%, %.1f MiB/s, %s left", 100*float64(done)/float64(max(total, done, 1)), rate/(1<<20), left)
}

// end notes how a round went, and says so.
func (d *Daemon) end(m *mirrored, r source.Result, round Round, begun time.Time, err error, log logrus.FieldLogger) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now, before := time.Now(), m.err
	m.sync = ""
	switch {
	case errors.Is(err, errHeld), errors.Is(err, errLeft), errors.Is(err, context.Canceled):
		return
	case err != nil:
		m.err = err
		m.turn.fail(now)
		if before == nil {
			log.WithError(err).Warn("is not mirrored")
		}
	default:
		m.turn.succeed(begun, r.All, r.Sent)
		m.last, m.err = round, nil
		log.WithFields(logrus.Fields{"point": r.Point, "bytes": r.Bytes, "took_s": round.TookS}).Debug("round")
		if round.Full {
			log.Infof("full sync done: %d MiB in %.0f s", r.Bytes>>20, round.TookS)
		} else if before != nil {
			log.Info("is mirrored again")
		}
		if text := fmt.Sprint(r.Warning); text != m.warned {
			if m.warned = text; r.Warning != nil {
				log.WithError(r.Warning).Warn("is mirrored, but not as it should be")
			}
		}
	}
	_, late := m.turn.oldest(now)
	if late && !m.late {
		log.WithError(err).Warn("the replica is older than two intervals")
	}
	m.late = late
}
