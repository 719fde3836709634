package probe

import (
	"time"

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
