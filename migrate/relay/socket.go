package relay

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/announce"
)

const (
	// keepBytes bounds what is kept for one card. The kernel doubles it, and counts its own bookkeeping: some
	// 8 MiB, or 10,000 small frames. Without CAP_NET_ADMIN the bound is that of net.core.rmem_max.
	keepBytes = 4 << 20
	// earlyBytes is the bound until keepSince. What a busy guest has received already fills it, and must leave room for
	// what comes when the guest is stopped.
	earlyBytes = 2 << 20
	// maxTrim is how many frames are dropped in one go while the guest still runs. A connection that sends so much has
	// something that follows what is lost, and recovers without a relay.
	maxTrim = 512
	// sendTime is how long a full queue may keep one frame from leaving.
	sendTime = 100 * time.Millisecond
)

// errStuck says that a device takes no more frames.
var errStuck = errors.New("its queue stays full")

// tapQueue is the receive queue of a packet socket at a guest's tap, with a filter before it. Its methods may be called
// by several goroutines, but take and trim by one alone.
type tapQueue struct {
	fd     int
	all    []unix.SockFilter
	first  []byte    // a frame that trim took and that is not too old, with room for a tag
	came   time.Time // when first did
	stamps []byte    // of the message that is received

	mu     sync.Mutex
	closed bool
	muted  bool      // nothing passes the filter
	since  time.Time // what came earlier is not taken; zero before keepSince
}

// openTapQueue makes a tapQueue, which keeps frames from here on. It needs CAP_NET_RAW.
func openTapQueue(tap int, mac announce.MAC) (*tapQueue, error) {
	fd, err := packetSocket(unix.SOCK_NONBLOCK)
	if err != nil {
		return nil, err
	}
	q := &tapQueue{fd: fd, all: filter(mac), stamps: make([]byte, stampSize)}
	if err = q.bound(earlyBytes); err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	}
	if err == nil {
		err = q.pass(q.all) // before the first frame
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ALL), Ifindex: tap})
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("set up a packet socket: %w", err)
	}
	return q, nil
}

// bound says how much is kept. What is there already counts, and stays.
func (q *tapQueue) bound(bytes int) error {
	if unix.SetsockoptInt(q.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bytes) == nil {
		return nil
	}
	return unix.SetsockoptInt(q.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, bytes)
}

// pass lets through what a filter takes.
func (q *tapQueue) pass(program []unix.SockFilter) error {
	return unix.SetsockoptSockFprog(q.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
}

// keepSince has what came since then stay until it is taken. It takes microseconds.
func (q *tapQueue) keepSince(since time.Time) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return nil
	}
	q.since = since
	err := q.bound(keepBytes)
	if q.muted {
		err = errors.Join(err, q.pass(q.all))
	}
	if err != nil {
		return fmt.Errorf("receive from the guest's device: %w", err)
	}
	return nil
}

// trim drops what came before then, unless keepSince was called. Where that is so much that dropping it would cost the
// node more than it is worth, nothing more is kept until keepSince.
func (q *tapQueue) trim(before time.Time, buffer []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.muted || !q.since.IsZero() || q.first != nil && !q.came.Before(before) {
		return
	}
	q.first = nil
	for range maxTrim {
		frame, at, err := q.receive(buffer)
		if err != nil {
			return
		}
		if !at.Before(before) {
			q.first, q.came = bytes.Clone(frame), at
			return
		}
	}
	q.muted = q.pass([]unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}}) == nil
}

// next takes the oldest frame that is kept, with its header, and leaves room for a tag before it. The error is EAGAIN
// where there is none. buffer is of maxFrame bytes.
func (q *tapQueue) next(buffer []byte) (frame []byte, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if first := q.first; first != nil {
		q.first = nil
		if !q.came.Before(q.since) {
			return first, nil
		}
	}
	for {
		frame, at, err := q.receive(buffer)
		if err != nil || !at.Before(q.since) {
			return frame, err
		}
	}
}

// receive takes the oldest frame of the socket, and when it came.
func (q *tapQueue) receive(buffer []byte) (frame []byte, at time.Time, err error) {
	for {
		n, stamped, _, _, err := unix.Recvmsg(q.fd, buffer[tagSize:], q.stamps, unix.MSG_DONTWAIT|unix.MSG_TRUNC)
		switch {
		case errors.Is(err, unix.ENETDOWN), errors.Is(err, unix.EINTR):
			continue // comes once, when the tap is gone; what was kept is there
		case err != nil:
			return nil, at, fmt.Errorf("take a frame that was kept: %w", err)
		case tagSize+n > len(buffer):
			return nil, at, fmt.Errorf("a frame of %d bytes is too long", n)
		}
		return buffer[:tagSize+n], stampOf(q.stamps[:stamped]), nil
	}
}

// stampSize is room for one control message with a struct timespec.
var stampSize = unix.CmsgSpace(int(unsafe.Sizeof(unix.Timespec{})))

// stampOf reads the kernel's time stamp of a message. Without one it is now, so that the frame counts.
func stampOf(control []byte) time.Time {
	header, data, _, err := unix.ParseOneSocketControlMessage(control)
	if err != nil || header.Type != unix.SO_TIMESTAMPNS || len(data) < 16 {
		return time.Now()
	}
	return time.Unix(int64(binary.NativeEndian.Uint64(data)), int64(binary.NativeEndian.Uint64(data[8:])))
}

// isEmpty reports whether no frame is kept. It takes one.
func (q *tapQueue) isEmpty() bool {
	_, err := q.next(make([]byte, maxFrame))
	return errors.Is(err, unix.EAGAIN)
}

func (q *tapQueue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	_ = unix.Close(q.fd)
}

// filter takes the segments of TCP that leave at a device for mac, without a tag. Addresses and offsets are those of
// linux/filter.h. The protocol of an IPv6 packet with further headers is not looked for.
func filter(mac announce.MAC) []unix.SockFilter {
	const taken, dropped = 15, 16 // the last two instructions
	skip := func(from int) uint8 { return uint8(dropped - from - 1) }
	raw, err := bpf.Assemble([]bpf.Instruction{
		0:       bpf.LoadExtension{Num: bpf.ExtType},
		1:       bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.PACKET_OUTGOING, SkipFalse: skip(1)},
		2:       bpf.LoadExtension{Num: bpf.ExtVLANTagPresent},
		3:       bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipFalse: skip(3)},
		4:       bpf.LoadAbsolute{Off: 12, Size: 2},
		5:       bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_IP, SkipTrue: 3},
		6:       bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_IPV6, SkipFalse: skip(6)},
		7:       bpf.LoadAbsolute{Off: etherHeader + 6, Size: 1}, // Next Header
		8:       bpf.Jump{Skip: 1},
		9:       bpf.LoadAbsolute{Off: etherHeader + 9, Size: 1}, // Protocol
		10:      bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_TCP, SkipFalse: skip(10)},
		11:      bpf.LoadAbsolute{Off: 0, Size: 4},
		12:      bpf.JumpIf{Cond: bpf.JumpEqual, Val: binary.BigEndian.Uint32(mac[:4]), SkipFalse: skip(12)},
		13:      bpf.LoadAbsolute{Off: 4, Size: 2},
		14:      bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(binary.BigEndian.Uint16(mac[4:])), SkipFalse: skip(14)},
		taken:   bpf.RetConstant{Val: 1<<32 - 1},
		dropped: bpf.RetConstant{Val: 0},
	})
	if err != nil {
		panic(err) // the instructions above are no input
	}
	program := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		program[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	return program
}

// sender is a packet socket that receives nothing.
type sender struct{ fd int }

func openSender() (*sender, error) {
	fd, err := packetSocket(0)
	if err != nil {
		return nil, err
	}
	wait := unix.NsecToTimeval(int64(sendTime))
	if err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &wait); err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PRIORITY, announce.Interactive)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("set up a packet socket: %w", err)
	}
	return &sender{fd}, nil
}

// send puts a frame with its header on the wire. errStuck is in the error where another try makes no sense.
func (s *sender) send(o announce.Outlet, frame []byte) error {
	for {
		err := unix.Sendto(s.fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: o.Index, Halen: uint8(len(announce.MAC{}))})
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			err = errStuck
		}
		if err != nil {
			return fmt.Errorf("send on %s: %w", o, err)
		}
		return nil
	}
}

func (s *sender) close() { _ = unix.Close(s.fd) }

// packetSocket makes one whose frames have a virtio_net_hdr before them, both ways.
func packetSocket(flags int) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|flags, 0)
	if err != nil {
		return -1, fmt.Errorf("open a packet socket: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("set up a packet socket: %w", err)
	}
	return fd, nil
}

func networkOrder(protocol uint16) uint16 { return protocol<<8 | protocol>>8 }
