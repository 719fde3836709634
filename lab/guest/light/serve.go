package light

import (
	"math/bits"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sizes of the tables: powers of two, as indexes are masked.
const (
	maxSessions = 64
	maxConns    = 128
	windowWords = 16 // of 64 sequence numbers each, as many as blackout's reflector remembers
	maxEvents   = 16
	packetSize  = 48
	bufferSize  = 64 * packetSize
)

// What an event's Fd says that is no connection's place.
const (
	udpTag      = maxConns
	listenerTag = maxConns + 1
)

// The first eight bytes of a probe and of an answer, as a little-endian machine loads them (blackout's
// packet.go has the layout).
const (
	probeHead  = 0x00000102_42666d76
	answerHead = 0x00000202_42666d76
)

// packet is a probe or an answer as it is on the wire: its numbers are big endian.
type packet struct{ head, session, seq, sent, instance, count uint64 }

// session is one sender: how many distinct probes came, and which of the newest sequence numbers.
type session struct {
	id, used, count, top uint64
	seen                 [windowWords]uint64
}

// conn is a TCP connection. In buffer are answers up to answered, of which written are sent, and then the beginning
// of a probe.
type conn struct {
	used                      uint64
	fd                        int32 // 0: the place is free
	filled, answered, written uint32
	waits                     bool // for room in the socket's buffer
	buffer                    [bufferSize]byte
}

// reflector is all that the child uses. It lies in memory that is mapped, and holds no pointers.
type reflector struct {
	epoll, udp, listener int32
	signals, unblocked   uint64
	instance             uint64
	uses                 uint64 // counts what was received: the clock by which places are old
	last                 uint64 // place of the session that was found last
	event                syscall.EpollEvent
	events               [maxEvents]syscall.EpollEvent
	from                 syscall.RawSockaddrInet4
	fromSize             uint32
	datagram             [packetSize]byte
	sessions             [maxSessions]session
	conns                [maxConns]conn
}

// serve is the child. It never returns.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (r *reflector) serve() {
	syscall.RawSyscall6(syscall.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(syscall.SIGKILL), 0, 0, 0, 0)
	syscall.RawSyscall6(unix.SYS_CLOSE_RANGE, 3, firstFD-1, 0, 0, 0, 0)
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(r.epoll),
			uintptr(unsafe.Pointer(&r.events)), maxEvents, ^uintptr(0), 0, 0)
		if errno != 0 && errno != syscall.EINTR {
			syscall.RawSyscall6(syscall.SYS_EXIT_GROUP, 1, 0, 0, 0, 0, 0)
		}
		for i := uintptr(0); errno == 0 && i < n; i++ {
			r.handle(&r.events[i&(maxEvents-1)])
		}
	}
}

//go:nosplit
//go:norace
//go:nocheckptr
func (r *reflector) handle(e *syscall.EpollEvent) {
	switch e.Fd {
	case udpTag:
		r.answerDatagram()
	case listenerTag:
		r.accept()
	default:
		r.talk(uint32(e.Fd) & (maxConns - 1))
	}
}

// answerDatagram answers one datagram. What is longer than a probe is cut off, as blackout's reflector does. An
// answer for which the socket has no room is lost, as in a network.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (r *reflector) answerDatagram() {
	r.fromSize = uint32(unsafe.Sizeof(r.from))
	at := uintptr(unsafe.Pointer(&r.datagram))
	from := uintptr(unsafe.Pointer(&r.from))
	n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(r.udp), at, packetSize, 0,
		from, uintptr(unsafe.Pointer(&r.fromSize)))
	if errno != 0 || n != packetSize || !r.answer((*packet)(unsafe.Pointer(&r.datagram))) {
		return
	}
	syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(r.udp), at, packetSize, 0, from, uintptr(r.fromSize))
}

// answer turns a probe into its answer, and reports whether it was one.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (r *reflector) answer(p *packet) bool {
	if p.head != probeHead || p.seq == 0 {
		return false
	}
	s := r.find(p.session)
	s.add(bits.ReverseBytes64(p.seq))
	p.head, p.instance, p.count = answerHead, r.instance, bits.ReverseBytes64(s.count)
	return true
}

// find returns the session of that number. A new one takes the place that was idle longest.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (r *reflector) find(id uint64) *session {
	r.uses++
	s := &r.sessions[r.last&(maxSessions-1)]
	if s.id == id && s.used != 0 {
		s.used = r.uses
		return s
	}
	idle := uint64(0)
	for i := uint64(0); i < maxSessions; i++ {
		s = &r.sessions[i&(maxSessions-1)]
		if s.id == id && s.used != 0 {
			r.last, s.used = i, r.uses
			return s
		}
		if s.used < r.sessions[idle&(maxSessions-1)].used {
			idle = i
		}
	}
	s = &r.sessions[idle&(maxSessions-1)]
	s.id, s.count, s.top = id, 0, 0
	for i := range uint64(windowWords) {
		s.seen[i&(windowWords-1)] = 0
	}
	r.last, s.used = idle, r.uses
	return s
}

// add counts the probe if its number is a new one. Whether a number below the window was seen is not known any more:
// it is not counted.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (s *session) add(seq uint64) {
	const size = windowWords * 64
	switch {
	case seq > s.top:
		if seq-s.top > size {
			s.top = seq - size
		}
		for s.top < seq {
			s.top++
			s.seen[s.top/64&(windowWords-1)] &^= 1 << (s.top & 63)
		}
	case s.top-seq >= size:
		return
	}
	word, bit := &s.seen[seq/64&(windowWords-1)], uint64(1)<<(seq&63)
	if *word&bit == 0 {
		*word |= bit
		s.count++
	}
}

// accept takes one connection. It takes the place that was idle longest.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (r *reflector) accept() {
	fd, _, errno := syscall.RawSyscall6(syscall.SYS_ACCEPT4, uintptr(r.listener), 0, 0,
		syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0, 0)
	if errno != 0 {
		return
	}
	at := uint32(0)
	for i := uint32(1); i < maxConns; i++ {
		if r.conns[i&(maxConns-1)].used < r.conns[at&(maxConns-1)].used {
			at = i
		}
	}
	c := &r.conns[at&(maxConns-1)]
	r.hangUp(c)
	r.uses++
	c.used, c.fd, c.filled, c.answered, c.written, c.waits = r.uses, int32(fd), 0, 0, 0, false
	r.event.Events = 1 // any value but 0 turns Nagle's delay off
	syscall.RawSyscall6(syscall.SYS_SETSOCKOPT, fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY,
		uintptr(unsafe.Pointer(&r.event.Events)), 4, 0)
	if !r.interest(at, c, syscall.EPOLL_CTL_ADD, syscall.EPOLLIN) {
		r.hangUp(c)
	}
}

// interest says which event of the connection is wanted.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (r *reflector) interest(at uint32, c *conn, how uintptr, events uint32) bool {
	r.event.Events, r.event.Fd = events, int32(at)
	_, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_CTL, uintptr(r.epoll), how, uintptr(c.fd),
		uintptr(unsafe.Pointer(&r.event)), 0, 0)
	return errno == 0
}

// hangUp closes a connection, if there is one, and frees its place. Events of it that the loop still has say nothing
// of the next one there: it reads or writes, finds EAGAIN, and waits.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (r *reflector) hangUp(c *conn) {
	if c.fd != 0 {
		syscall.RawSyscall6(syscall.SYS_CLOSE, uintptr(c.fd), 0, 0, 0, 0, 0)
	}
	c.fd, c.used = 0, 0
}

// talk reads from a connection and answers, or continues with what it could not write before. It reads nothing
// while a client does not take its answers.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (r *reflector) talk(at uint32) {
	c := &r.conns[at&(maxConns-1)]
	if c.fd == 0 {
		return
	}
	r.uses++
	c.used = r.uses
	if !(c.written < c.answered || r.read(c)) || !r.write(c) {
		r.hangUp(c)
		return
	}
	if full := c.written < c.answered; full != c.waits {
		c.waits = full
		events := uint32(syscall.EPOLLIN)
		if full {
			events = syscall.EPOLLOUT
		}
		if !r.interest(at, c, syscall.EPOLL_CTL_MOD, events) {
			r.hangUp(c)
		}
	}
}

// read takes what has come, and answers it in the buffer. False: the connection has ended, or something else than
// probes came.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (r *reflector) read(c *conn) bool {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_READ, uintptr(c.fd),
		uintptr(unsafe.Pointer(&c.buffer))+uintptr(c.filled), uintptr(bufferSize-c.filled), 0, 0, 0)
	if errno != 0 || n == 0 {
		return errno == syscall.EAGAIN
	}
	c.filled += uint32(n)
	return r.answerAll(c)
}

// answerAll turns each whole probe in the connection's buffer into its answer. False: something else is among them.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (r *reflector) answerAll(c *conn) bool {
	for ; c.filled-c.answered >= packetSize; c.answered += packetSize {
		if !r.answer((*packet)(unsafe.Add(unsafe.Pointer(&c.buffer), c.answered))) {
			return false
		}
	}
	return true
}

// write sends the answers, and then moves the beginning of a probe to the front. False: the connection has ended.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (r *reflector) write(c *conn) bool {
	base := unsafe.Pointer(&c.buffer)
	if c.written < c.answered {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(c.fd), uintptr(base)+uintptr(c.written),
			uintptr(c.answered-c.written), syscall.MSG_NOSIGNAL, 0, 0)
		if errno != 0 {
			return errno == syscall.EAGAIN
		}
		c.written += uint32(n)
	}
	if c.written == c.answered {
		for i := c.answered; i < c.filled; i++ {
			*(*byte)(unsafe.Add(base, i-c.answered)) = *(*byte)(unsafe.Add(base, i))
		}
		c.filled, c.answered, c.written = c.filled-c.answered, 0, 0
	}
	return true
}
