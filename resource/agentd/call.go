package agentd

import (
	"context"
	"errors"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// call is one call into libvirt, from admission to return; line.mu guards it.
type call struct {
	guest    string // what it is about; empty for the connection itself
	probe    bool   // tries whether libvirt answers again
	late     bool
	returned bool
}

// ask makes a call, which may never return, and waits for it as long as is reasonable.
// guest is whom it is about. The end of ctx does not abort the call: it is left alone.
func ask[T any](ctx context.Context, l *line, guest string, f func() (T, error)) (T, error) {
	var zero T
	ctx, cancel := context.WithTimeout(ctx, patience(ctx))
	defer cancel()
	c, err := l.admit(ctx, guest)
	if err != nil {
		return zero, err
	}
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := f()
		l.ended(c)
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		l.abandon(c, ctx.Err())
		return zero, l.noAnswer(guest, ctx.Err())
	}
}

// patience is how long a call is waited for: a part of the time that is left, so that the
// guest's process can be looked for and the caller still gets the answer.
func patience(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return longestCall
	}
	return min(longestCall, time.Until(deadline)/3)
}

// admit lets a call begin, after others where many are under way. Where libvirt gave no answer
// since a call became overdue, one at a time may try and all others fail at once; and a guest
// whose call is overdue is not asked about again.
func (l *line) admit(ctx context.Context, guest string) (*call, error) {
	l.mu.Lock()
	c := &call{guest: guest, probe: l.suspect}
	full := len(l.slots) == cap(l.slots)
	if l.late[guest] > 0 || c.probe && (l.probing || full) {
		l.mu.Unlock()
		return nil, l.noAnswer(guest, nil)
	}
	l.probing = c.probe
	l.mu.Unlock()
	select {
	case l.slots <- struct{}{}:
		return c, nil
	case <-ctx.Done():
		l.mu.Lock()
		defer l.mu.Unlock()
		l.probing = l.probing && !c.probe
		return nil, l.noAnswer(guest, ctx.Err())
	}
}

// ended notes that a call came back: libvirt answered, or its socket was closed.
func (l *line) ended(c *call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	<-l.slots
	c.returned = true
	if c.late {
		if l.late[c.guest]--; l.late[c.guest] == 0 {
			delete(l.late, c.guest)
		}
	}
	if l.suspect {
		l.log.Info("libvirt answers again")
	}
	l.suspect, l.probing = false, false
}

// abandon notes that nobody waits for a call any more. It is overdue when its time was up, and
// not when its caller went away.
func (l *line) abandon(c *call, why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.returned {
		return
	}
	l.probing = l.probing && !c.probe
	if !errors.Is(why, context.DeadlineExceeded) {
		return
	}
	c.late = true
	l.late[c.guest]++
	if !l.suspect {
		l.log.Warn("libvirt does not answer: monitors use the guests' processes until it does")
	}
	l.suspect = true
}

// noAnswer is the error of a call without an answer; cause is nil where it was not made.
func (l *line) noAnswer(guest string, cause error) error {
	e := &libvirt.Error{Op: "status", URI: l.uri, Domain: guest, Kind: libvirt.ErrConnect,
		Cause: cause, Message: "no answer before the deadline"}
	if guest == "" {
		e.Op = "connect"
	}
	if cause == nil {
		e.Message = "an earlier question is still unanswered"
	}
	return e
}
