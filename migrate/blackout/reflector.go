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
	// maxConnections bounds a reflector's TCP connections; more are closed at once.
	maxConnections = 256
	// acceptPause is how long the reflector waits after a failed accept, which
	// is nearly always a lack of file descriptors.
	acceptPause = 100 * time.Millisecond
	// streamBuffer holds what a TCP connection delivers in one read.
	streamBuffer = 256 * PacketSize
)

// Reflector answers probes. The zero value is not usable; see NewReflector.
// Its methods may be called concurrently; UDP and TCP share its counters.
type Reflector struct {
	log      logrus.FieldLogger
	instance uint64
	sessions *sessions
}

// NewReflector returns a reflector with a fresh random instance and no
// sessions. A service that restarts is thereby seen as another instance, and
// one that migrates as the same.
func NewReflector(log logrus.FieldLogger) *Reflector {
	return &Reflector{log: log, instance: randomID(), sessions: newSessions(sessionsPerGeneration)}
}

// Serve listens on addr (HOST:PORT, UDP and TCP) and answers probes until ctx
// is cancelled, which is no error, or a socket fails. Port 0 takes a free
// port; the log tells which.
func Serve(ctx context.Context, addr string, log logrus.FieldLogger) error {
	udp, tcp, err := Listen(addr)
	if err != nil {
		return err
	}
	log.WithField("address", udp.LocalAddr().String()).Info("answering probes over UDP and TCP")
	r := NewReflector(log)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.ServeUDP(ctx, udp) })
	g.Go(func() error { return r.ServeTCP(ctx, tcp) })
	return g.Wait()
}

// Listen opens the two sockets of a reflector, both on the same port.
func Listen(addr string) (*net.UDPConn, net.Listener, error) {
	tcp, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, nil, fmt.Errorf("listen for TCP on %q: %w", addr, err)
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("listen on %q: %w", addr, err), tcp.Close())
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
// Go's poller: two system calls for each probe and no scheduling, which is
// what an emulated CPU can bear.
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

// reflect is the loop of ServeUDP.
func (r *Reflector) reflect(ctx context.Context, fd int) error {
	m := new(message)
	m.bind(make([]byte, 2048))
	for {
		n, err := m.receive(fd, 0, 0)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			if unusable(err) {
				return fmt.Errorf("receive probes: %w", err)
			}
			continue // an ICMP error for an earlier answer, or no memory just now
		}
		if r.answer(m.data[:n]) {
			_ = m.reply(fd, PacketSize) // a lost answer is what watch counts
		}
	}
}

// unusable tells the errors that say something about the socket itself from
// those that say something about the network.
func unusable(err error) bool {
	return err == unix.EBADF || err == unix.ENOTSOCK || err == unix.EINVAL || err == unix.EFAULT
}

// answer turns a probe at the start of b into its answer, in place, and
// reports whether there was one.
func (r *Reflector) answer(b []byte) bool {
	p, err := parsePacket(b, kindProbe)
	if err != nil {
		return false
	}
	answerInPlace(b, r.instance, r.sessions.receive(p.session, p.seq))
	return true
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
	slots := make(chan struct{}, maxConnections)
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

// answerStream answers every whole probe that rw delivers, as many at a time
// as one read brings, until it ends or brings something else.
func (r *Reflector) answerStream(rw io.ReadWriter) error {
	buf := make([]byte, streamBuffer)
	for have := 0; ; {
		n, err := rw.Read(buf[have:])
		have += n
		whole := have - have%PacketSize
		for at := 0; at < whole; at += PacketSize {
			if !r.answer(buf[at : at+PacketSize]) {
				return errPacket
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
