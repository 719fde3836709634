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

// unread is for how long before its STOP the guest may have left frames in its device's queue. What it did read
// comes twice then, which TCP tolerates.
const unread = 10 * time.Millisecond

// Relay is the relay of one guest, for one attempt to migrate it. Its methods may be called from several
// goroutines; all but Close return at once, and may be called again without effect.
type Relay struct {
	guest    string
	log      logrus.FieldLogger
	cards    []*cardRelay
	group    sync.WaitGroup
	once     struct{ buffer, forward, drop sync.Once }
	begun    chan struct{} // closed by Forward
	over     chan struct{} // closed by Drop
	buffered atomic.Bool   // by Buffer
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
		l, err := newCardRelay(p)
		if err != nil {
			r.Drop()
			r.group.Wait()
			return nil, fmt.Errorf("prepare the relay of guest %q: %w", guest, err)
		}
		r.cards = append(r.cards, l)
		r.group.Go(func() { l.run(r.begun, r.over) })
	}
	return r, nil
}

// Buffer says that the guest stopped at an instant of this host's clock: what came in for it since then is kept. The
// word of that may come late, by a tenth of a second at the most. It does not block.
func (r *Relay) Buffer(stopped time.Time) {
	r.once.buffer.Do(func() {
		r.buffered.Store(true)
		for _, l := range r.cards {
			if err := l.queue.keepSince(stopped.Add(-unread)); err != nil {
				r.log.WithError(err).Info("what arrives for the guest while it is paused is lost")
			}
		}
	})
}

// Forward says that the target has the guest: what was kept may go there. Without a Buffer before it is a Drop.
func (r *Relay) Forward() {
	if !r.buffered.Load() {
		r.Drop()
		return
	}
	r.once.forward.Do(func() { close(r.begun) })
}

// Drop says that the guest continues here. Its tap still has what came in meanwhile, and what was kept is forgotten.
func (r *Relay) Drop() { r.once.drop.Do(func() { close(r.over) }) }

// Close ends the relay, and returns how many frames were forwarded, each of which may be several packets of TCP. After
// Forward it waits until they have left, for half a second at the most or until ctx ends. Without Forward it is a Drop.
// The error says why not all was forwarded that was kept.
func (r *Relay) Close(ctx context.Context) (forwarded int, err error) {
	select {
	case <-r.begun:
	default:
		r.Drop()
	}
	defer context.AfterFunc(ctx, r.Drop)()
	r.group.Wait()
	r.Drop() // nothing is left to stop
	var errs []error
	for _, l := range r.cards {
		forwarded += l.forwarded
		errs = append(errs, l.err)
	}
	if err := errors.Join(errs...); err != nil {
		return forwarded, fmt.Errorf("forward what arrived for guest %q while it was paused: %w", r.guest, err)
	}
	return forwarded, nil
}
