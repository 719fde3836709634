package relay

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/announce"
)

const (
	// hearTime is how long after Pass the bridge may take to hear of the guest at its new place. The announcements
	// come within milliseconds of the guest's RESUME, again and again, and a client has retransmitted by itself before long.
	hearTime = 500 * time.Millisecond
	// settle is when the socket is read once more after the bridge began to send elsewhere: what another processor had
	// on its way to the tap has arrived by then.
	settle = 10 * time.Millisecond
	// unread is for how long before its STOP the guest may have left frames in its device's queue. What it did read
	// comes twice then, which TCP tolerates.
	unread = 10 * time.Millisecond
)

// ErrUnheard is in the error of a Close that sent nothing, because the node's bridge never heard of the
// guest behind another port.
var ErrUnheard = errors.New("the node's bridge has not heard where the guest is")

// Relay is the relay of one guest, for one attempt to migrate it. Its methods may be called from several
// goroutines; all but Close return at once, and may be called again without effect.
type Relay struct {
	guest string
	log   logrus.FieldLogger
	lines []*line
	group sync.WaitGroup
	once  struct{ hold, pass, drop sync.Once }
	begun chan struct{} // closed by Pass
	over  chan struct{} // closed by Drop
	held  atomic.Bool   // by Hold
}

// Open prepares the relay of a guest that runs here. domainXML is that of the running guest. A card that
// can have no relay is logged and left out; a Relay without cards is no error, and does nothing. The error
// is one of the kernel's that concerns all cards, as where CAP_NET_RAW is missing. Close the Relay in any case.
func Open(guest, domainXML string, log logrus.FieldLogger) (*Relay, error) {
	return open(announce.Host{}, guest, domainXML, log)
}

func open(host announce.Host, guest, domainXML string, log logrus.FieldLogger) (*Relay, error) {
	r := &Relay{guest: guest, log: log.WithField("guest", guest), begun: make(chan struct{}), over: make(chan struct{})}
	cards, err := announce.ParseCards(domainXML)
	if err != nil {
		return nil, fmt.Errorf("prepare the relay of guest %q: %w", guest, err)
	}
	for _, c := range cards {
		p, err := placeOf(host, c)
		if err != nil {
			r.log.WithError(err).Debugf("network card %s has no relay", c.MAC)
			continue
		}
		l, err := newLine(p)
		if err != nil {
			r.Drop()
			r.group.Wait()
			return nil, fmt.Errorf("prepare the relay of guest %q: %w", guest, err)
		}
		r.lines = append(r.lines, l)
		r.group.Go(func() { l.run(r.begun, r.over) })
	}
	return r, nil
}

// Hold says that the guest stopped at an instant of this host's clock: what came in for it since then is kept. The word
// of that may come late, by a tenth of a second at the most. It does not block.
func (r *Relay) Hold(stopped time.Time) {
	r.once.hold.Do(func() {
		r.held.Store(true)
		for _, l := range r.lines {
			if err := l.keep.hold(stopped.Add(-unread)); err != nil {
				r.log.WithError(err).Info("what comes in for the guest while it is stopped is lost")
			}
		}
	})
}

// Pass says that the target has the guest: what was kept may go there. Without a Hold before it is a Drop.
func (r *Relay) Pass() {
	if !r.held.Load() {
		r.Drop()
		return
	}
	r.once.pass.Do(func() { close(r.begun) })
}

// Drop says that the guest goes on here. Its tap still has what came in meanwhile, and what was kept is forgotten.
func (r *Relay) Drop() { r.once.drop.Do(func() { close(r.over) }) }

// Close ends the relay, and returns how many frames were handed on, each of which may be several packets of TCP. After
// Pass it waits until they have left, for half a second at the most or until ctx ends. Without Pass it is a Drop. The error
// says why not all was handed on that was kept.
func (r *Relay) Close(ctx context.Context) (passed int, err error) {
	select {
	case <-r.begun:
	default:
		r.Drop()
	}
	defer context.AfterFunc(ctx, r.Drop)()
	r.group.Wait()
	r.Drop() // nothing is left that could heed it
	var errs []error
	for _, l := range r.lines {
		passed += l.passed
		errs = append(errs, l.err)
	}
	if err := errors.Join(errs...); err != nil {
		return passed, fmt.Errorf("hand on what came in for guest %q while it stood still: %w", r.guest, err)
	}
	return passed, nil
}
