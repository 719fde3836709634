package socket

import (
	"encoding/binary"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// BatchSize is how many datagrams are sent or received in one system call.
const BatchSize = 64

// controlSize is room for the kernel's notes on a datagram: a time stamp, or the
// local address, which a socket for IPv6 and IPv4 reports twice.
const controlSize = 128

// mmsghdr is struct mmsghdr of sendmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

// Batch is the memory of batchSize datagrams for sendmmsg(2) and recvmmsg(2).
// It must not be copied.
type Batch struct {
	hdrs  [BatchSize]mmsghdr
	iovs  [BatchSize]unix.Iovec
	names [BatchSize]Address
	ctls  [BatchSize][controlSize]byte
	data  []byte
	size  int
}

// NewBatch returns a batch of datagrams of up to size bytes.
func NewBatch(size int) *Batch {
	b := &Batch{data: make([]byte, BatchSize*size), size: size}
	for i := range b.hdrs {
		b.iovs[i].Base = &b.data[i*size]
		b.iovs[i].SetLen(size)
		b.hdrs[i].hdr.Iov = &b.iovs[i]
		b.hdrs[i].hdr.SetIovlen(1)
	}
	return b
}

// Buffer is the memory of one datagram.
func (b *Batch) Buffer(i int) []byte { return b.data[i*b.size : (i+1)*b.size] }

// Received is what the last receive put into datagram i.
func (b *Batch) Received(i int) []byte { return b.Buffer(i)[:b.hdrs[i].n] }

// SetAddress makes datagram i go to an address; the zero one means that of a
// connected socket.
func (b *Batch) SetAddress(i int, to Address, n uint32) {
	b.names[i] = to
	b.hdrs[i].hdr.Name, b.hdrs[i].hdr.Namelen = nil, 0
	if n > 0 {
		b.hdrs[i].hdr.Name, b.hdrs[i].hdr.Namelen = &b.names[i][0], n
	}
}

// Receive reads up to batchSize datagrams, with their senders and the kernel's
// notes, and returns how many.
func (b *Batch) Receive(fd, flags int) (int, error) {
	for i := range b.hdrs {
		h := &b.hdrs[i].hdr
		h.Name, h.Namelen = &b.names[i][0], uint32(len(b.names[i]))
		h.Control = &b.ctls[i][0]
		h.SetControllen(len(b.ctls[i]))
		b.iovs[i].SetLen(b.size)
	}
	return b.call(unix.SYS_RECVMMSG, fd, 0, BatchSize, flags)
}

// Send sends the datagrams from up to to and returns how many the kernel took;
// fewer when one of them failed.
func (b *Batch) Send(fd, from, to, flags int) (int, error) {
	return b.call(unix.SYS_SENDMMSG, fd, from, to, flags)
}

func (b *Batch) call(trap uintptr, fd, from, to, flags int) (int, error) {
	for {
		n, _, errno := unix.Syscall6(trap, uintptr(fd), uintptr(unsafe.Pointer(&b.hdrs[from])),
			uintptr(to-from), uintptr(flags), 0, 0)
		if errno == 0 {
			return int(n), nil
		}
		if errno != unix.EINTR {
			return 0, errno
		}
	}
}

// SetLength sets how many bytes of datagram i are sent.
func (b *Batch) SetLength(i, n int) { b.iovs[i].SetLen(n) }

// Move makes datagram i from the one at from: what is not answered
// leaves no gap.
func (b *Batch) Move(i, from int) {
	if i == from {
		return
	}
	copy(b.Buffer(i), b.Buffer(from))
	b.names[i], b.ctls[i] = b.names[from], b.ctls[from]
	h, old := &b.hdrs[i].hdr, &b.hdrs[from].hdr
	h.Namelen, h.Controllen = old.Namelen, old.Controllen
}

// Stamp returns when the kernel received datagram i, on the wall clock; not ok where it made no note of that.
func (b *Batch) Stamp(i int) (time.Time, bool) {
	return stampOf(&b.hdrs[i].hdr, b.ctls[i][:])
}

// Sender is the address that datagram i came from. What does not
// distinguish clients is left out.
func (b *Batch) Sender(i int) Address {
	from := b.names[i]
	clear(from[min(int(b.hdrs[i].hdr.Namelen), len(from)):])
	if binary.NativeEndian.Uint16(from[:]) == unix.AF_INET6 {
		clear(from[4:8]) // the flow label
	}
	return from
}

// Unicast reports whether datagram i was sent to this host alone, as far as the
// kernel knows.
func (b *Batch) Unicast(i int) bool {
	return unicast(b.ctls[i][:min(int(b.hdrs[i].hdr.Controllen), controlSize)])
}
