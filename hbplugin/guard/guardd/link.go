package guardd

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/link"
	"github.com/vmferry/vmferry/hbplugin/guard/protocol"
	"github.com/vmferry/vmferry/migrate/wait"
)

// Link carries datagrams between the guards.
type Link interface {
	// Send sends to a node, and does not wait.
	Send(to int, datagram []byte) error
	// Receive waits for the next datagram, of whomever. It returns an error once ctx has ended.
	Receive(ctx context.Context, buffer []byte) (int, error)
}

// linked is the state of the renewals over the link; the loop's alone.
type linked struct {
	run      uint64
	sequence uint64
	sent     map[int]*link.Sent
	received map[int]*link.Received
	echoed   uint64 // the newest hello that was answered
}

func (d *Daemon) newLinked() *linked {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	l := &linked{run: binary.NativeEndian.Uint64(b[:]), sent: map[int]*link.Sent{}, received: map[int]*link.Received{}}
	for _, id := range d.others() {
		l.sent[id], l.received[id] = new(link.Sent), new(link.Received)
	}
	return l
}

func (d *Daemon) key() []byte { return d.Header.Identity[:] }

// linkSender sends a renewal to every other node, as often as the slot is written; without a lease, a hello.
func (d *Daemon) linkSender(ctx context.Context) {
	every(ctx, d.Header.Times.Renew, func() {
		d.do(ctx, func(now time.Duration) {
			kind := link.Hello
			if phase, _ := d.guard.Phase(); phase == protocol.Held || phase == protocol.Moving {
				kind = link.Renewal
			}
			d.links.sequence++
			for _, id := range d.others() {
				m := link.Message{Kind: kind, From: d.ID, To: id, Generation: d.guard.Generation(),
					Sequence: d.links.sequence, Written: d.guard.Written(now), Run: d.links.run}
				if kind == link.Renewal {
					d.links.sent[id].Add(m.Sequence, now, d.Header.Times.SelfKill)
				}
				_ = d.Link.Send(id, m.Seal(d.key())) // what does not arrive is not acknowledged
			}
		})
	})
}

// linkReceiver takes renewals and acknowledgements.
func (d *Daemon) linkReceiver(ctx context.Context) {
	buffer := make([]byte, 2*link.Size)
	for ctx.Err() == nil {
		n, err := d.Link.Receive(ctx, buffer)
		if err != nil {
			_ = wait.For(ctx, step) // it may fail at once, again and again, and this process runs before others
			continue
		}
		m, err := link.Unseal(d.key(), buffer[:n])
		if err == nil && m.To == d.ID {
			d.do(ctx, func(now time.Duration) { d.take(m, now) })
		}
		if from, to, foreign := link.Foreign(buffer[:n]); err != nil && foreign && to == d.ID {
			d.do(ctx, func(time.Duration) { d.guard.LinkForeign(from) })
		}
	}
}

// take is one message of another node.
func (d *Daemon) take(m link.Message, now time.Duration) {
	switch {
	case d.links.sent[m.From] == nil:
	case m.Kind == link.Ack && m.Run == d.links.run:
		if begun, ok := d.links.sent[m.From].Acknowledged(m.Sequence); ok {
			d.guard.LinkAck(m.From, m.Generation, begun)
		}
	case m.Kind == link.Echo && m.Run == d.links.run:
		d.links.echoed = max(d.links.echoed, m.Sequence)
		d.guard.LinkHeard(m.From)
	case m.Kind == link.Renewal && d.links.received[m.From].Fresh(m) &&
		d.guard.LinkRenewal(m.From, m.Generation, m.Written, now):
		d.reply(m, link.Ack)
	case m.Kind == link.Hello && d.links.received[m.From].Fresh(m):
		d.guard.LinkHeard(m.From)
		d.reply(m, link.Echo)
	}
}

func (d *Daemon) reply(m link.Message, kind link.Kind) {
	m.Kind, m.From, m.To = kind, m.To, m.From
	_ = d.Link.Send(m.To, m.Seal(d.key()))
}

// hears is a function that reports whether another node's guard has answered since hears was called, while this node
// has no lease.
func (d *Daemon) hears(ctx context.Context) func() bool {
	var from uint64
	d.ask(ctx, func(time.Duration) { from = d.links.sequence })
	return func() (heard bool) {
		d.ask(ctx, func(time.Duration) { heard = d.links.echoed > from })
		return heard
	}
}
