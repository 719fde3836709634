package reflector

import (
	"context"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/blackout/socket"
	"github.com/vmferry/vmferry/migrate/blackout/wire"
)

// ServeUDP answers the datagrams of conn until ctx is cancelled, which is no
// error, and closes conn. It blocks a thread in the kernel rather than using
// Go's poller: two system calls for each batch of probes and no scheduling,
// which an emulated CPU can keep up with.
func (r *Reflector) ServeUDP(ctx context.Context, conn *net.UDPConn) error {
	defer conn.Close()
	f, err := conn.File()
	if err != nil {
		return fmt.Errorf("answer UDP on %s: %w", conn.LocalAddr(), err)
	}
	defer f.Close()
	fd := int(f.Fd()) // Fd makes the socket a blocking one
	keepDestination(fd)
	// Shutting down an unconnected UDP socket returns ENOTCONN and still wakes
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
	now, answers := r.now(), 0
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

// datagram turns a probe at the start of b into its answer or into a challenge,
// in place, and reports whether either is to be sent.
func (r *Reflector) datagram(b []byte, from socket.Address, now time.Duration) bool {
	p, err := wire.Parse(b, wire.Probe)
	if err != nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.handshake.keys.rotate(now)
	key := sender{p.Session, ownerOf(from.IP())}
	e := r.sessions.look(key)
	if e == nil && !r.sessions.room(key.owner, now) {
		r.refuse(now, limitClients)
		return false
	}
	epoch, ok := r.handshake.proven(e, p, from, now)
	if !ok {
		return r.handshake.challenge(b, p, from, now)
	}
	if e == nil {
		e = r.sessions.find(key, now)
	}
	e.prove(from, proof{p.Cookie(), epoch})
	e.touch(now)
	if !e.pace.take(now, r.gap, paceSlack) {
		return false
	}
	if n := e.receive(p.Seq); !r.handshake.renew(b, e, p, epoch, now) {
		wire.AnswerInPlace(b, r.instance, n)
	}
	return true
}

// unusable distinguishes errors of the socket itself from those of the network.
func unusable(err error) bool {
	return err == unix.EBADF || err == unix.ENOTSOCK || err == unix.EINVAL || err == unix.EFAULT
}

// keepDestination asks the kernel for which local address each datagram
// was sent to, so that the answer leaves from that one: on a host with several
// addresses, a client would drop it otherwise. Either call may fail, for a
// socket of the other family; then the kernel chooses the source. The kernel takes
// its notes when a datagram comes, so this is best done before the socket is bound.
func keepDestination(fd int) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
}
