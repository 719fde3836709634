package migrate

import (
	"context"
	"time"

	"github.com/vmferry/vmferry/migrate/events"
)

const (
	// relayTime bounds what the relay may take of a move's time, at its begin and at its end, and relayLeast is what
	// it gets at the end even past the deadline.
	relayTime  = time.Second
	relayLeast = 50 * time.Millisecond
)

// relaying makes and ends the relay, a new one for each attempt to migrate. A move goes on without one.
type relaying struct {
	*account
	*window
	open   func(guest, domainXML string) (Relay, error) // nil where there is none
	guest  string
	events *events.Log

	relay Relay // of the attempt under way
}

// begin makes the relay of one attempt. The source must be connected.
func (r *relaying) begin(ctx context.Context, source Host) {
	if r.open == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, relayTime)
	defer cancel()
	log := func(err error) {
		r.log.WithError(err).Info("TCP segments that arrive during the pause are not forwarded")
	}
	doc, err := source.XML(ctx, r.guest)
	if err != nil {
		log(err)
		return
	}
	made := make(chan Relay)
	go func() {
		relay, err := r.open(r.guest, doc)
		if err != nil {
			log(err)
			close(made)
			return
		}
		select {
		case made <- relay:
		case <-ctx.Done(): // too late
			relay.Drop()
			_, _ = relay.Close(ctx)
		}
	}()
	select {
	case relay, ok := <-made:
		if ok {
			r.relay = relay
			r.events.SetRelay(relay)
		}
	case <-ctx.Done():
	}
}

// end closes the relay of the last attempt, and records how many frames it forwarded.
func (r *relaying) end(ctx context.Context) {
	relay := r.relay
	if relay == nil {
		return
	}
	r.relay = nil
	r.events.SetRelay(nil)
	if r.rec.Outcome == Moved {
		relay.Pass() // the event may have been missed
	} else {
		relay.Drop()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(relayTime, max(r.all(), relayLeast)))
	defer cancel()
	closed := make(chan int, 1)
	go func() {
		n, err := relay.Close(ctx)
		if err != nil {
			r.log.WithError(err).Info("clients of the guest may have waited for longer than its pause")
		}
		closed <- n
	}()
	select {
	case r.rec.Relayed = <-closed:
	case <-ctx.Done():
	}
	if r.rec.Relayed > 0 {
		r.log.Infof("forwarded %d frames that arrived during the guest's pause", r.rec.Relayed)
	}
}
