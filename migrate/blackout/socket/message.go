package socket

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Message is one recvmsg(2) with its buffers. The kernel is
// called directly because the standard library's equivalents allocate an
// address for each packet or go through the network poller; both cost more
// than the rest of the work. A message must not be copied after bind.
type Message struct {
	hdr  unix.Msghdr
	iov  unix.Iovec
	name [unix.SizeofSockaddrAny]byte
	ctl  [128]byte
	Data []byte
}

// Bind points the kernel's structures at the message's own buffers.
func (m *Message) Bind(data []byte) {
	m.Data = data
	m.iov.Base = &data[0]
	m.hdr.Iov = &m.iov
	m.hdr.SetIovlen(1)
}

// Receive reads one datagram, or what a stream has, into data from offset on
// and returns the number of bytes.
func (m *Message) Receive(fd, offset, flags int) (int, error) {
	m.iov.Base = &m.Data[offset]
	m.iov.SetLen(len(m.Data) - offset)
	m.hdr.Name = &m.name[0]
	m.hdr.Namelen = uint32(len(m.name))
	m.hdr.Control = &m.ctl[0]
	m.hdr.SetControllen(len(m.ctl))
	for {
		n, _, errno := unix.Syscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&m.hdr)), uintptr(flags))
		if errno == 0 {
			return int(n), nil
		}
		if errno != unix.EINTR {
			return 0, errno
		}
	}
}

// Stamp returns when the kernel received what the last receive read, on the wall clock; not ok where it made no note of
// that.
func (m *Message) Stamp() (time.Time, bool) { return stampOf(&m.hdr, m.ctl[:]) }
