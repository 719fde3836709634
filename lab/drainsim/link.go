package drainsim

import (
	"math"
	"time"

	"github.com/vmferry/vmferry/migrate/drain"
)

// link is a node's way out. All who send on it get the same.
type link struct {
	clock   *clock
	given   drain.Link
	factor  float64 // of the given rate that it really has
	senders []*sender
	since   time.Time // up to when the senders' bytes are counted
	next    *event
}

// sender has so many bytes to send, and something to do when they are sent.
type sender struct {
	left float64
	done func()
}

// rate is what each sender gets now.
func (l *link) rate() float64 {
	r := l.given.Rate * l.factor / math.Max(1, float64(len(l.senders)))
	if l.given.Each > 0 {
		r = math.Min(r, l.given.Each)
	}
	return r
}

// count takes in what was sent since the last time. It comes before every change.
func (l *link) count() {
	sent := l.rate() * l.clock.now.Sub(l.since).Seconds()
	for _, s := range l.senders {
		s.left -= sent
	}
	l.since = l.clock.now
}

// plan waits for the first sender that will be done.
func (l *link) plan() {
	l.next.callOff()
	if len(l.senders) == 0 {
		return
	}
	first := l.senders[0]
	for _, s := range l.senders {
		if s.left < first.left {
			first = s
		}
	}
	seconds := math.Max(first.left, 0) / l.rate()
	l.next = l.clock.after(time.Duration(math.Ceil(seconds*1e9)), func() {
		l.stop(first)
		first.done()
	})
}

// send begins to send.
func (l *link) send(bytes float64, done func()) *sender {
	l.count()
	s := &sender{bytes, done}
	l.senders = append(l.senders, s)
	l.plan()
	return s
}

// stop ends a sending, done or not.
func (l *link) stop(s *sender) {
	l.count()
	for i, o := range l.senders {
		if o == s {
			l.senders = append(l.senders[:i], l.senders[i+1:]...)
			break
		}
	}
	l.plan()
}

// slow changes what the link carries.
func (l *link) slow(factor float64) {
	l.count()
	l.factor = factor
	l.plan()
}
