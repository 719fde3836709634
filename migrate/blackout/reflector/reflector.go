package reflector

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/blackout/socket"
	"github.com/vmferry/vmferry/migrate/blackout/wire"
)

// Reflector answers probes. The zero value is not usable; see New.
// ServeUDP may be called once, ServeTCP concurrently with it and repeatedly;
// UDP and TCP share its counters.
//
// Over UDP it answers only clients that have shown that they receive what is
// sent to their address: the first probe is answered with a cookie, of the same
// size, that must stand in every later one, and that is replaced from time to
// time. It never sends more than it received, keeps nothing for a client before
// that, and bounds what it keeps and does afterwards by its Limits. It does not
// answer what was sent to a broadcast or multicast address.
type Reflector struct {
	log         logrus.FieldLogger
	instance    uint64
	gap         time.Duration // between two probes of a session at the highest rate
	sessions    *sessions
	connections *connections
	started     time.Time
	full, ended seldom

	// Of the UDP side alone.
	baker          *baker
	offers, checks pace
}

// New returns a reflector with a fresh random instance, no sessions, and limits
// that Validate takes; zero ones are the defaults. A service that restarts is
// thereby seen as another instance, and one that migrates as the same.
func New(log logrus.FieldLogger, l Limits) *Reflector {
	l = l.withDefaults()
	return &Reflector{
		log: log, instance: wire.RandomID(), gap: time.Second / time.Duration(l.Rate), started: time.Now(),
		sessions:    newSessions(l.Clients, l.ClientsPerAddress),
		connections: newConnections(l.Connections, l.ConnectionsPerAddress),
		full:        seldom{every: time.Minute}, ended: seldom{every: time.Second},
		baker: newBaker(keyLife),
	}
}

// ServeUDP answers the datagrams of conn until ctx is cancelled, which is no
// error, and closes conn. It blocks a thread in the kernel rather than using
// Go's poller: two system calls for each batch of probes and no scheduling,
// which is what an emulated CPU can bear.
func (r *Reflector) ServeUDP(ctx context.Context, conn *net.UDPConn) error {
	defer conn.Close()
	f, err := conn.File()
	if err != nil {
		return fmt.Errorf("answer UDP on %s: %w", conn.LocalAddr(), err)
	}
	defer f.Close()
	fd := int(f.Fd()) // Fd makes the socket a blocking one
	keepDestination(fd)
	// Shutting down an unconnected UDP socket says ENOTCONN and still wakes
	// its reader.
	stop := context.AfterFunc(ctx, func() { _ = unix.Shutdown(fd, unix.SHUT_RDWR) })
	defer stop()
	return r.reflect(ctx, fd)
}

// reflect is the loop of ServeUDP: what one call received, one call answers.
func (r *Reflector) reflect(ctx context.Context, fd int) error {
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, socket.ReceiveBuffer)
	b := socket.NewBatch(2048)
	for {
		n, err := b.Receive(fd, unix.MSG_WAITFORONE)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			if unusable(err) {
				return fmt.Errorf("receive probes: %w", err)
			}
			continue // an ICMP error for an earlier answer, or no memory just now
		}
		r.reply(fd, b, n)
	}
}

// reply answers the first n datagrams of a batch, from the addresses that they
// were sent to: the kernel's own notes are handed back.
func (r *Reflector) reply(fd int, b *socket.Batch, n int) {
	now, answers := time.Since(r.started), 0
	for i := range n {
		if b.Unicast(i) && r.datagram(b.Received(i), b.Sender(i), now) {
			b.Move(answers, i)
			b.SetLength(answers, wire.PacketSize)
			answers++
		}
	}
	for from := 0; from < answers; {
		sent, err := b.Send(fd, from, answers, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		if err != nil {
			sent = 1 // a lost answer is what watch counts
		}
		from += sent
	}
}

// The flags of "blackout serve" that bound places.
const (
	limitClients     = "--max-clients"
	limitConnections = "--max-connections"
)

// turnAway notes that there is no place for a client. limit names the flag that bounds
// such places; that of one address begins with it.
func (r *Reflector) turnAway(now time.Duration, limit string) {
	if n, ok := r.full.more(now); ok {
		r.log.WithField("refused", n).Warnf("a new client is not answered: all places of its address, or all places, are in use; "+
			"raise %s-per-address or %s", limit, limit)
	}
}

// unusable tells the errors that say something about the socket itself from
// those that say something about the network.
func unusable(err error) bool {
	return err == unix.EBADF || err == unix.ENOTSOCK || err == unix.EINVAL || err == unix.EFAULT
}
