package probe

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/blackout/outage"
	"github.com/vmferry/vmferry/migrate/blackout/socket"
	"github.com/vmferry/vmferry/migrate/blackout/wire"
)

// stream is one TCP connection of a prober.
type stream struct {
	fd        int
	connected bool
	deadline  time.Duration
	in        socket.Message
	have      int // bytes of in.data held over from the last read
	rest      [wire.PacketSize]byte
	pending   int // bytes at the end of rest that the kernel did not take yet
	acks      outage.Acks
}

// buffer returns the memory of the incoming stream.
func (s *stream) buffer() []byte { return s.in.Data }

// receive reads behind what is held over and returns the bytes that came.
func (s *stream) receive() (int, error) {
	n, err := s.in.Receive(s.fd, s.have, unix.MSG_DONTWAIT)
	s.have += n
	return n, err
}

// send writes a probe and reports whether the kernel took it, all of it or the
// beginning: then the rest goes out before the next.
func (s *stream) send(b []byte) bool {
	if !s.flush() {
		return false
	}
	n, err := unix.Write(s.fd, b)
	if err != nil {
		return false // the next read finds a broken connection
	}
	s.pending = len(b) - n
	copy(s.rest[wire.PacketSize-s.pending:], b[n:])
	return true
}

// flush writes the rest of an earlier probe.
func (s *stream) flush() bool {
	if s.pending == 0 {
		return true
	}
	n, err := unix.Write(s.fd, s.rest[wire.PacketSize-s.pending:])
	if err != nil {
		return false
	}
	s.pending -= n
	return s.pending == 0
}

// kernelTick is the resolution of the time of an acknowledgement: one tick of the kernel's clock.
func kernelTick() time.Duration {
	var res unix.Timespec
	if err := unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &res); err != nil {
		return 10 * time.Millisecond // the slowest clock that Linux has
	}
	return time.Duration(res.Nano())
}

// tcpInfo is room for one answer of getsockopt(2). unix.GetsockoptTCPInfo allocates it at each call.
type tcpInfo struct{ unix.TCPInfo }

// read asks the kernel about a connection, and reports whether it answered.
func (i *tcpInfo) read(fd int) bool {
	size := uint32(unsafe.Sizeof(i.TCPInfo))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.IPPROTO_TCP, unix.TCP_INFO,
		uintptr(unsafe.Pointer(&i.TCPInfo)), uintptr(unsafe.Pointer(&size)), 0)
	return errno == 0
}

// age is how long ago the newest acknowledgement came.
func (i *tcpInfo) age() time.Duration { return time.Duration(i.Last_ack_recv) * time.Millisecond }
