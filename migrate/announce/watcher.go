package announce

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/wait"
)

const (
	// lookEvery is how often the list of guests is read for libvirts that are not followed yet.
	lookEvery = 2 * time.Second
	// watchEvery is how often the neighbour table is read, to know an address that changes its MAC.
	watchEvery = 10 * time.Second
	// openTime bounds the making of a connection.
	openTime = 10 * time.Second
	// A connection that broke is made again after firstRetry, and while that fails, after twice as long
	// each time up to lastRetry. Not at once: a dial starts a daemon that waits behind a
	// socket, also one that is just being stopped.
	firstRetry = 2 * time.Second
	lastRetry  = 30 * time.Second
)

// errLost says that a connection broke.
var errLost = errors.New("the connection to libvirt was lost")

// Conn is a connection to a libvirt; client.Conn is the real one.
type Conn interface {
	Source
	// Follow calls f for each turn of every domain until stop is called; lost is closed when
	// the connection breaks. f does not block.
	Follow(ctx context.Context, f func(domain string, t libvirt.Turn)) (lost <-chan struct{}, stop func(), err error)
	// Close gives the connection back.
	Close() error
}

// Guest is one to announce when it comes to run on this node.
type Guest struct {
	Name    string
	URI     string // of the libvirt that it runs under
	Setting Setting
	// Resource is what the cluster manager calls it. It is for the caller alone.
	Resource string
}

// Watcher announces guests when libvirt says that they begin to run here: by a migration, a start or a
// restore. Each is announced once: one that is paused and resumed, that suspends and wakes or that reboots is not
// announced again. The announcement waits while the guest is paused, and ends early when it stops. Each libvirt that a
// guest is under is followed over one connection. All fields but those of Announcer that say so
// are required; Others and Memory are the Watcher's own.
type Watcher struct {
	Announcer
	Dial func(ctx context.Context, uri string) (Conn, error)
	// Guests lists whom to announce. It is read every two seconds, and when a guest arrives. Those in
	// an answer with an error count.
	Guests func() ([]Guest, error)
	// Begun is called for a guest after the first round of which a frame has left. It must not block.
	Begun func(Guest)
}

// Run watches until ctx ends, and waits for what it began. A libvirt that is down is tried
// again and again.
func (w *Watcher) Run(ctx context.Context) {
	var group sync.WaitGroup
	defer group.Wait()
	w.Others, w.Memory = w.configured, new(Memory)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	followed, said, watched := map[string]bool{}, "", time.Time{}
	for {
		all, err := w.Guests()
		said = w.complain(err, said)
		for _, g := range all {
			if uri := g.URI; !followed[uri] {
				followed[uri] = true
				group.Go(func() { w.keep(ctx, uri) })
			}
		}
		if now := time.Now(); len(all) > 0 && now.Sub(watched) >= watchEvery {
			watched = now
			table, _ := w.Host.neighbours(ctx) // who announces a guest reports the error
			w.Memory.watch(now, table)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// complain logs an error unless it was said before, and returns what is said by now.
func (w *Watcher) complain(err error, said string) string {
	if err == nil {
		return ""
	}
	if err.Error() != said {
		w.Log.WithError(err).Warn("some guests may not be announced as they should")
	}
	return err.Error()
}

// configured are the addresses that the settings name, and for which guest.
func (w *Watcher) configured() map[netip.Addr]string {
	all, _ := w.Guests() // Run reports the error
	of := map[netip.Addr]string{}
	for _, g := range all {
		for _, a := range g.Setting.Addrs() {
			of[a] = g.Name
		}
	}
	return of
}

// wanted is the guest of that name, unless it is not to be announced.
func (w *Watcher) wanted(uri, name string) (Guest, bool) {
	all, _ := w.Guests() // Run reports the error
	i := slices.IndexFunc(all, func(g Guest) bool { return g.URI == uri && g.Name == name })
	if i < 0 || all[i].Setting.Off {
		return Guest{}, false
	}
	return all[i], true
}

// keep follows a libvirt, over a new connection each time one is lost. It is said once that
// libvirt is away.
func (w *Watcher) keep(ctx context.Context, uri string) {
	log := w.Log.WithField("uri", uri)
	pause, away := firstRetry, false
	for {
		err := w.follow(ctx, uri, func() {
			log.Debug("following libvirt's guests")
			pause, away = firstRetry, false
		})
		if ctx.Err() != nil {
			return
		}
		if !away {
			log.WithError(err).Info("guests are not announced by this daemon until libvirt answers")
			away = true
		}
		if wait.For(ctx, pause) != nil {
			return
		}
		pause = min(2*pause, lastRetry)
	}
}

// follow works over one connection until it is lost or ctx ends; begun is called when it is there.
func (w *Watcher) follow(ctx context.Context, uri string, begun func()) error {
	opening, cancel := context.WithTimeout(ctx, openTime)
	defer cancel()
	conn, err := w.Dial(opening, uri)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // nothing depends on a clean goodbye
	turns := newInbox()
	lost, stop, err := conn.Follow(opening, turns.put)
	if err != nil {
		return fmt.Errorf("follow libvirt at %q: %w", uri, err)
	}
	defer stop()
	w.recall(ctx, uri, conn)
	begun()
	// What is under way ends with the connection: nobody would say when the guest stops.
	ctx, cancelAll := context.WithCancel(ctx)
	f := following{Watcher: w, uri: uri, conn: conn, arrivals: map[string]*arrival{}}
	defer f.group.Wait()
	defer cancelAll()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-lost:
			return errLost
		case <-turns.ready:
			for _, t := range turns.take() {
				f.turn(ctx, t)
			}
		}
	}
}

// recall takes note of the addresses that are configured for guests which are here already, in their XML.
func (w *Watcher) recall(ctx context.Context, uri string, conn Conn) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	all, _ := w.Guests() // Run reports the error
	for _, g := range all {
		if g.URI != uri {
			continue
		}
		cards, _ := w.cards(ctx, conn, g.Name) // none where it does not run here
		var addrs []netip.Addr
		for _, c := range cards {
			addrs = append(append(addrs, c.Addrs...), c.Filter.Addrs...)
		}
		w.Memory.keep(g.Name, addrs)
	}
}

// following is the guests of one connection. It belongs to one goroutine.
type following struct {
	*Watcher
	uri      string
	conn     Conn
	arrivals map[string]*arrival
	group    sync.WaitGroup
}

// arrival is a guest that is prepared for, announced, and remembered until it is gone.
type arrival struct {
	cancel context.CancelFunc
	runs   *gate
}

func (f *following) turn(ctx context.Context, t turn) {
	a := f.arrivals[t.guest]
	switch {
	case t.Turn == libvirt.TurnHalted:
		f.drop(t.guest)
	case t.Turn == libvirt.TurnArriving:
		f.expect(ctx, t.guest, true)
	case t.Turn == libvirt.TurnRunning && a == nil:
		f.expect(ctx, t.guest, false).runs.open()
	case a == nil: // it was here before, and nothing is new
	case t.Turn == libvirt.TurnPaused:
		a.runs.shut()
	default:
		a.runs.open()
	}
}

// drop ends what is under way for a guest, and forgets it.
func (f *following) drop(guest string) {
	if a := f.arrivals[guest]; a != nil {
		a.cancel()
		delete(f.arrivals, guest)
	}
	f.Memory.keep(guest, nil)
}

// expect begins to prepare for a guest, and announces it when it runs. migrated reports that another host sends it.
func (f *following) expect(ctx context.Context, guest string, migrated bool) *arrival {
	f.drop(guest)
	ctx, cancel := context.WithCancel(ctx)
	a := &arrival{cancel, newGate()}
	f.arrivals[guest] = a
	f.group.Go(func() {
		defer cancel()
		if g, ok := f.wanted(f.uri, guest); ok {
			f.receive(ctx, g, a.runs, migrated)
		}
	})
	return a
}

// receive prepares, waits for the guest to run, and announces it. A preparation that fails is made up
// for beside the first rounds.
func (f *following) receive(ctx context.Context, g Guest, runs *gate, migrated bool) {
	plan, err := f.Prepare(ctx, f.conn, g.Name, g.Setting)
	if err != nil {
		f.Log.WithError(err).Debug("the announcement is prepared again when the guest runs")
		plan = Plan{Guest: g.Name, Partial: true}
	}
	plan.Migrated = migrated && libvirt.DriverOf(f.uri).JobControl // which QEMU's driver can
	if _, open := runs.pass(ctx, 0); !open {
		return
	}
	refine := func(ctx context.Context) (Plan, error) { return f.Refine(ctx, f.conn, g.Name, g.Setting) }
	f.announce(ctx, plan, refine, runs, func() { f.Begun(g) })
}
