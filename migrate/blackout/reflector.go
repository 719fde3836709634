package blackout

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// DefaultListen is where a reflector listens unless told otherwise: port 7007
// of every address, IPv6 and IPv4.
const DefaultListen = ":7007"

const (
	// acceptPause is how long the reflector waits after a failed accept, which
	// is nearly always a lack of file descriptors.
	acceptPause = 100 * time.Millisecond
	// streamBuffer holds what a TCP connection delivers in one read.
	streamBuffer = 256 * PacketSize
)

// Reflector answers probes. The zero value is not usable; see NewReflector.
// ServeUDP may be called once, ServeTCP concurrently with it and repeatedly;
// UDP and TCP share its counters.
//
// Over UDP it answers only clients that have shown that they receive what is
// sent to their address: the first probe is answered with a cookie, of the same
// size, that must stand in every later one. It never sends more than it
// received, keeps nothing for a client before that, and bounds what it keeps
// and does afterwards by its Limits.
type Reflector struct {
	log      logrus.FieldLogger
	instance uint64
	limits   Limits
	gap      time.Duration // between two probes of a session at the highest rate
	sessions *sessions
	started  time.Time

	// Of the UDP side alone.
	baker  *baker
	offers pace
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
		log: log, instance: randomID(), limits: l, gap: time.Second / time.Duration(l.Rate), started: time.Now(),
		sessions: newSessions((l.Clients+1)/2, generationAge), baker: newBaker(),
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
	udp, err := net.ListenUDP("udp", udpAddr)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("listen for UDP on %q: %w", addr, err), tcp.Close())
	}
	return udp, tcp, nil
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
// socket of the other family; then the kernel chooses the source.
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
// were sent to: the kernel's own notes are handed back unread.
func (r *Reflector) reply(fd int, b *batch, n int) {
	now, answers := time.Since(r.started), 0
	for i := range n {
		if r.datagram(b.received(i), b.sender(i), now) {
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
	if !r.sessions.proven(p.session, from, p.cookie()) {
		good := r.baker.bake(from, p.session)
		if p.cookie() != good {
			challengeInPlace(b, good)
			return r.offers.take(now, time.Second/challengeRate, paceSlack)
		}
		r.sessions.prove(p.session, from, good, now)
	}
	return r.count(b, p, now, r.gap)
}

// count turns the probe in b into its answer, unless its client is beyond a
// limit: there must be a gap between two probes, on average.
func (r *Reflector) count(b []byte, p packet, now, gap time.Duration) bool {
	n, ok := r.sessions.receive(p.session, p.seq, now, gap, paceSlack)
	if ok {
		answerInPlace(b, r.instance, n)
	}
	return ok
}

// unusable tells the errors that say something about the socket itself from
// those that say something about the network.
func unusable(err error) bool {
	return err == unix.EBADF || err == unix.ENOTSOCK || err == unix.EINVAL || err == unix.EFAULT
}

// ServeTCP answers the streams that l accepts until ctx is cancelled, which is
// no error; it then closes l and every connection. A stream that carries
// anything but probes is closed.
func (r *Reflector) ServeTCP(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	var open sync.WaitGroup
	defer open.Wait()
	defer cancel()
	slots := make(chan struct{}, r.limits.Connections)
	for {
		conn, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = conn.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept on %s: %w", l.Addr(), err)
		case err != nil:
			r.log.WithError(err).Warn("cannot accept a TCP connection")
			pause(ctx, acceptPause)
			continue
		}
		select {
		case slots <- struct{}{}:
			open.Go(func() { defer func() { <-slots }(); r.stream(ctx, conn) })
		default:
			_ = conn.Close()
		}
	}
}

// pause waits for d or until ctx is cancelled.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// stream answers one connection until it ends.
func (r *Reflector) stream(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if tcp, ok := conn.(*net.TCPConn); ok {
		// Reap clients that are gone, but keep those that are cut off for
		// minutes: their outage is what is being measured.
		_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 5 * time.Minute, Interval: time.Minute, Count: 10})
	}
	err := r.answerStream(conn)
	if err != nil && ctx.Err() == nil {
		r.log.WithError(err).WithField("client", conn.RemoteAddr().String()).Debug("TCP connection ended")
	}
}

// errClients ends a connection for which there is no room.
var errClients = errors.New("too many clients")

// answerStream answers every whole probe that rw delivers, as many at a time
// as one read brings, until it ends or brings something else.
func (r *Reflector) answerStream(rw io.ReadWriter) error {
	buf := make([]byte, streamBuffer)
	for have := 0; ; {
		n, err := rw.Read(buf[have:])
		have += n
		whole := have - have%PacketSize
		now := time.Since(r.started)
		for at := 0; at < whole; at += PacketSize {
			p, err := parsePacket(buf[at:], kindProbe)
			if err != nil {
				return err
			}
			// TCP has a brake of its own, and what was held up comes at once.
			if !r.count(buf[at:], p, now, 0) {
				return errClients
			}
		}
		if whole > 0 {
			if _, err := rw.Write(buf[:whole]); err != nil {
				return err
			}
			have = copy(buf, buf[whole:have])
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// randomID returns eight random bytes; crypto/rand does not fail on Linux.
func randomID() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return binary.BigEndian.Uint64(b[:])
}
