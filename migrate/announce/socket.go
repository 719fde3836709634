package announce

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Interactive is TC_PRIO_INTERACTIVE of linux/pkt_sched.h, the highest that needs no privilege: the
// usual queues send such frames before those of a migration that fills the link.
const Interactive = 6

// Socket sends frames as they are. It receives nothing.
type Socket struct{ fd int }

// Open makes a packet socket, which needs CAP_NET_RAW (packet(7)).
func Open() (*Socket, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open a packet socket: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PRIORITY, Interactive); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("set the priority of a packet socket: %w", err)
	}
	return &Socket{fd}, nil
}

// Send puts a frame on the outlet's wire, tagged as it has to be there. It does not wait: a
// device that is down or whose queue is full is an error. It may be called by several
// goroutines at once, but not after Close.
func (s *Socket) Send(o Outlet, frame []byte) error {
	to := &unix.SockaddrLinklayer{Ifindex: o.Index, Halen: 6}
	copy(to.Addr[:], frame[:6])
	if err := unix.Sendto(s.fd, tagged(frame, o.VLAN), 0, to); err != nil {
		return fmt.Errorf("send on %s: %w", o, err)
	}
	return nil
}

// Close ends the socket.
func (s *Socket) Close() error { return unix.Close(s.fd) }
