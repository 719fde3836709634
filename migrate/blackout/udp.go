package blackout

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// eventsIn is what epoll is asked to tell about an open socket.
const eventsIn = unix.EPOLLIN

// receiveBuffer is asked for on every socket, so that answers wait in the
// kernel, with their time stamps, while this process does not run.
const receiveBuffer = 1 << 20

// target is what both kinds of prober have: the arithmetic under its lock, and
// the identity of the session.
type target struct {
	endpoint
	clock   clock
	session uint64

	mu    sync.Mutex
	track *tracker
}

// settled implements prober.
func (t *target) settled() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.track.unsettled() == 0
}

// answered hands an answer to the arithmetic, with the kernel's time stamp
// where there is one that can be believed.
func (t *target) answered(p packet, m *message, lateness time.Duration) {
	now := time.Now()
	at := now.Sub(t.clock.start)
	if stamp, ok := m.stamp(); ok {
		if exact, ok := arrival(stamp, now, at, p.sent); ok {
			at, lateness = exact, 0
		}
	}
	t.track.answer(p, at, lateness)
}

// udpProber probes one target over UDP, from one connected socket.
type udpProber struct {
	target
	fd  int
	out [PacketSize]byte
	in  message
}

func newUDPProber(name string, sa unix.Sockaddr) (*udpProber, error) {
	fd, err := openSocket(sa, unix.SOCK_DGRAM)
	if err != nil {
		return nil, fmt.Errorf("open a socket for %s: %w", name, err)
	}
	if err := unix.Connect(fd, sa); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("find a route to %s: %w", name, err)
	}
	u := &udpProber{fd: fd}
	u.in.bind(make([]byte, 2*PacketSize))
	return u, nil
}

// openSocket opens a non-blocking socket with kernel time stamps.
func openSocket(sa unix.Sockaddr, kind int) (int, error) {
	family := unix.AF_INET
	if _, ok := sa.(*unix.SockaddrInet6); ok {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	// Without the two of them the run is less exact, and says so.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	return fd, nil
}

// tick implements prober.
func (u *udpProber) tick(now time.Duration, skipped uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	seq := u.track.try(now, skipped)
	packet{kind: kindProbe, session: u.session, seq: seq, sent: now}.put(u.out[:])
	if err := u.send(); err != nil {
		u.track.fail()
	}
	u.track.sent(u.clock.now())
}

// send sends the probe. A connected socket reports an ICMP error for an
// earlier probe in place of sending this one, once: that says nothing about
// this one.
func (u *udpProber) send() error {
	_, err := unix.Write(u.fd, u.out[:])
	if err != nil && err != unix.EAGAIN {
		_, err = unix.Write(u.fd, u.out[:])
	}
	return err
}

// ready implements prober. It reads one datagram: epoll tells again when there
// are more, and the timer gets its turn in between.
func (u *udpProber) ready(_ int, _ uint32, lateness time.Duration) {
	n, err := u.in.receive(u.fd, 0, unix.MSG_DONTWAIT)
	if err != nil {
		return
	}
	p, err := parsePacket(u.in.data[:n], kindAnswer)
	if err != nil || p.session != u.session {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.answered(p, &u.in, lateness)
}

// close implements prober.
func (u *udpProber) close() { _ = unix.Close(u.fd) }
