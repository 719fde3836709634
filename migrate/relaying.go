package migrate

import (
	"context"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/qmp"
)

const (
	// relayTime bounds what the relay may take of a move's time, at its begin and at its end, and relayLeast is what
	// it gets at the end even past the deadline.
	relayTime  = time.Second
	relayLeast = 50 * time.Millisecond
)

// beginRelay makes the relay for one attempt, if there is anything to listen to at the source. A move
// goes on without it.
func (m *mover) beginRelay(ctx context.Context) {
	if m.deps.Relay == nil || m.req.Fetch || !m.hears.source || !m.driver.Can(libvirt.CanTellPause) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, relayTime)
	defer cancel()
	doc, err := m.source.Host.XML(ctx, m.req.Guest)
	if err != nil {
		m.log.WithError(err).Info("what comes in for the guest during its pause is not handed on")
		return
	}
	made := make(chan Relay)
	go func() {
		r, err := m.deps.Relay(m.req.Guest, doc)
		if err != nil {
			m.log.WithError(err).Info("what comes in for the guest during its pause is not handed on")
			close(made)
			return
		}
		select {
		case made <- r:
		case <-ctx.Done(): // too late
			r.Drop()
			_, _ = r.Close(ctx)
		}
	}()
	select {
	case r := <-made:
		m.tape.setRelay(r)
	case <-ctx.Done():
	}
}

// endRelay ends the relay of the last attempt, and puts into the record what it handed on.
func (m *mover) endRelay(ctx context.Context) {
	r := m.tape.setRelay(nil)
	if r == nil {
		return
	}
	if m.rec.Outcome == Moved {
		r.Pass() // the event may have been missed
	} else {
		r.Drop()
	}
	limit := relayTime
	if !m.deadline.IsZero() {
		limit = min(limit, max(time.Until(m.deadline), relayLeast))
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	passed := make(chan int, 1)
	go func() {
		n, err := r.Close(ctx)
		if err != nil {
			m.log.WithError(err).Info("clients of the guest may have waited for longer than its pause")
		}
		passed <- n
	}()
	select {
	case m.rec.Relayed = <-passed:
	case <-ctx.Done():
	}
	if m.rec.Relayed > 0 {
		m.log.Infof("handed on %d frames that came in during the guest's pause", m.rec.Relayed)
	}
}

// setRelay changes the relay that hears the events, and returns the one before.
func (t *tape) setRelay(r Relay) (before Relay) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before, t.relay = t.relay, r
	return before
}

// steerRelay tells the relay what an event means for it. At the source's "completed" the target's QEMU has all of
// the guest, and announces it: it runs as soon as libvirt has been told.
func (t *tape) steerRelay(o qmp.Observed) {
	switch {
	case t.relay == nil:
	case o.GoesOn():
		t.relay.Drop()
	case o.Side == qmp.Source && o.Event.Event == "STOP":
		t.relay.Hold(o.Stamp())
	case o.Side == qmp.Source && o.Status() == qmp.PhaseCompleted, o.Side == qmp.Target && o.Event.Event == "RESUME":
		t.relay.Pass()
	}
}
