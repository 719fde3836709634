package blackout

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// DefaultListen is where a reflector listens unless told otherwise: port 7007
// of every address, IPv6 and IPv4.
const DefaultListen = ":7007"

// Reflector answers probes. The zero value is not usable; see NewReflector.
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

// NewReflector returns a reflector with a fresh random instance and no
// sessions, and the limits by default. A service that restarts is thereby seen
// as another instance, and one that migrates as the same.
func NewReflector(log logrus.FieldLogger) *Reflector { return NewLimitedReflector(log, Limits{}) }

// NewLimitedReflector returns a reflector with limits of its own, which must be
// valid; see NewReflector.
func NewLimitedReflector(log logrus.FieldLogger, l Limits) *Reflector {
	l = l.withDefaults()
	return &Reflector{
		log: log, instance: randomID(), gap: time.Second / time.Duration(l.Rate), started: time.Now(),
		sessions:    newSessions(l.Clients, l.ClientsPerAddress),
		connections: newConnections(l.Connections, l.ConnectionsPerAddress),
		full:        seldom{every: time.Minute}, ended: seldom{every: time.Second},
		baker: newBaker(keyLife),
	}
}

// Service says how Serve runs.
type Service struct {
	Listen string // HOST:PORT, for UDP and TCP; port 0 takes a free one
	Limits Limits
	// Drop, unless nil, is called when the sockets are open and before the first
	// packet is read; it gives up what privileges there are.
	Drop func() error
}

// Serve listens and answers probes until ctx is cancelled, which is no error,
// or a socket fails. The log tells the address.
func Serve(ctx context.Context, s Service, log logrus.FieldLogger) error {
	if err := s.Limits.Validate(); err != nil {
		return err
	}
	udp, tcp, err := Listen(s.Listen)
	if err != nil {
		return err
	}
	if s.Drop != nil {
		if err := s.Drop(); err != nil {
			return errors.Join(fmt.Errorf("drop privileges: %w", err), udp.Close(), tcp.Close())
		}
	}
	log.WithField("address", udp.LocalAddr().String()).Info("answering probes over UDP and TCP")
	r := NewLimitedReflector(log, s.Limits)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.ServeUDP(ctx, udp) })
	g.Go(func() error { return r.ServeTCP(ctx, tcp) })
	return g.Wait()
}

// listenTries is how many ports are tried when any will do.
const listenTries = 16

// Listen opens the two sockets of a reflector, both on the same port. Port 0 takes
// one that is free for both.
func Listen(addr string) (*net.UDPConn, net.Listener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, nil, fmt.Errorf("listen on %q: %w", addr, err)
	}
	for try := 1; ; try++ {
		udp, tcp, err := listenBoth(addr, host)
		if port != "0" || try == listenTries || !errors.Is(err, unix.EADDRINUSE) {
			return udp, tcp, err
		}
	}
}

// listenBoth lets TCP choose the port: what is free for TCP may be taken for UDP.
func listenBoth(addr, host string) (*net.UDPConn, net.Listener, error) {
	tcp, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, nil, fmt.Errorf("listen for TCP on %q: %w", addr, err)
	}
	port := tcp.Addr().(*net.TCPAddr).Port
	udpAddr, err := net.ResolveUDPAddr("udp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("listen for UDP on %q: %w", addr, err), tcp.Close())
	}
	early := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { keepDestination(int(fd)) })
	}}
	udp, err := early.ListenPacket(context.Background(), "udp", udpAddr.String())
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("listen for UDP on %q: %w", addr, err), tcp.Close())
	}
	return udp.(*net.UDPConn), tcp, nil
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

// keepDestination asks the kernel to tell which local address each datagram
// was sent to, so that the answer leaves from that one: on a host with several
// addresses, a client would drop it otherwise. Either call may fail, for a
// socket of the other family; then the kernel chooses the source. The kernel takes
// its notes when a datagram comes, so this is best done before the socket is bound.
func keepDestination(fd int) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
}

// reflect is the loop of ServeUDP: what one call received, one call answers.
func (r *Reflector) reflect(ctx context.Context, fd int) error {
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	b := newBatch(2048)
	for {
		n, err := b.receive(fd, unix.MSG_WAITFORONE)
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
func (r *Reflector) reply(fd int, b *batch, n int) {
	now, answers := time.Since(r.started), 0
	for i := range n {
		if b.unicast(i) && r.datagram(b.received(i), b.sender(i), now) {
			b.move(answers, i)
			b.length(answers, PacketSize)
			answers++
		}
	}
	for from := 0; from < answers; {
		sent, err := b.send(fd, from, answers, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		if err != nil {
			sent = 1 // a lost answer is what watch counts
		}
		from += sent
	}
}

// datagram turns a probe at the start of b into its answer or into a challenge,
// in place, and reports whether either is to be sent.
func (r *Reflector) datagram(b []byte, from rawAddress, now time.Duration) bool {
	p, err := parsePacket(b, kindProbe)
	if err != nil {
		return false
	}
	r.sessions.mu.Lock()
	defer r.sessions.mu.Unlock()
	r.baker.turn(now)
	key := sender{p.session, from.owner()}
	e := r.sessions.look(key)
	if e == nil && !r.sessions.room(key.owner, now) {
		r.turnAway(now, limitClients)
		return false
	}
	epoch, ok := r.vouched(e, p, from, now)
	if !ok {
		if !r.offers.take(now, time.Second/challengeRate, challengeSlack) {
			return false
		}
		challengeInPlace(b, r.baker.bake(r.baker.epoch, from, p.session))
		return true
	}
	if e == nil {
		e = r.sessions.find(key, now)
	}
	e.prove(from, proof{p.cookie(), epoch})
	return r.answer(b, e, p, epoch, now)
}

// vouched tells the epoch of the cookie in p; not ok when it does not fit the
// sender's address, or when strangers have used up what may be spent on them.
func (r *Reflector) vouched(e *session, p packet, from rawAddress, now time.Duration) (epoch uint64, ok bool) {
	known := e != nil && e.from == from
	if known {
		if epoch, ok = e.proven(p.cookie(), r.baker.epoch); ok {
			return epoch, true
		}
	}
	if p.cookie() == (cookie{}) || !known && !r.checks.take(now, time.Second/challengeRate, challengeSlack) {
		return 0, false
	}
	return r.baker.check(p.cookie(), from, p.session)
}

// answer turns the probe in b into its answer, unless its client sends too fast. When
// its cookie is about to expire, one probe in a while becomes a challenge, and comes
// again with a new cookie: it is counted once, and those that follow it are answered.
func (r *Reflector) answer(b []byte, e *session, p packet, epoch uint64, now time.Duration) bool {
	e.touch(now)
	if !e.pace.take(now, r.gap, paceSlack) {
		return false
	}
	n := e.receive(p.seq)
	if epoch < r.baker.epoch && e.renew.take(now, r.baker.life/renewals, 0) {
		challengeInPlace(b, r.baker.bake(r.baker.epoch, e.from, p.session))
	} else {
		answerInPlace(b, r.instance, n)
	}
	return true
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

// randomID returns eight random bytes; crypto/rand does not fail on Linux.
func randomID() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return binary.BigEndian.Uint64(b[:])
}
