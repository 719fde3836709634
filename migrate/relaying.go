package migrate

import (
	"context"
	"time"

	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/events"
	"github.com/vmferry/vmferry/migrate/record"
	"github.com/vmferry/vmferry/migrate/wait"
)

const (
	// relayTime bounds what the relay may take of a move's time, at its begin and at its end, and relayLeast is what
	// it gets at the end even past the deadline.
	relayTime  = time.Second
	relayLeast = 50 * time.Millisecond
)

// relaying makes and ends the relay, a new one for each attempt to migrate. A move continues without one.
type relaying struct {
	*account
	*window
	open   func(guest, domainXML string) (Relay, error) // nil where there is none
	guest  string
	events *events.Log

	relay Relay // of the attempt under way
}

// begin makes the relay of one attempt. The source must be connected.
func (r *relaying) begin(ctx context.Context, source endpoint.Host) {
	if r.open == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, relayTime)
	defer cancel()
	var relay Relay
	doc, err := source.XML(ctx, r.guest)
	if err == nil {
		relay, err = wait.Within(ctx, func() (Relay, error) { return r.open(r.guest, doc) }, func(late Relay) {
			late.Drop()
			_, _ = late.Close(ctx)
		})
	}
	if err != nil {
		r.log.WithError(err).Info("TCP segments that arrive during the pause are not forwarded")
		return
	}
	r.relay = relay
	r.events.SetRelay(relay)
}

// end closes the relay of the last attempt, and records how many frames it forwarded.
func (r *relaying) end(ctx context.Context) {
	relay := r.relay
	if relay == nil {
		return
	}
	r.relay = nil
	r.events.SetRelay(nil)
	if r.rec.Outcome == record.Moved {
		relay.Forward() // the event may have been missed
	} else {
		relay.Drop()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(relayTime, max(r.all(), relayLeast)))
	defer cancel()
	n, err := wait.Within(ctx, func() (int, error) { return relay.Close(ctx) }, nil)
	if err != nil {
		r.log.WithError(err).Info("clients of the guest may have waited for longer than its pause")
	}
	if r.rec.Relayed = n; n > 0 {
		r.log.Infof("forwarded %d frames that arrived during the guest's pause", n)
	}
}
