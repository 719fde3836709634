package blackout

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// message is one recvmsg(2) or sendmsg(2) with its buffers. The kernel is
// called directly because the standard library's equivalents allocate an
// address for each packet or go through the network poller; both cost more
// than the rest of the work. A message must not be copied after bind.
type message struct {
	hdr  unix.Msghdr
	iov  unix.Iovec
	name [unix.SizeofSockaddrAny]byte
	ctl  [128]byte
	data []byte
}

// bind points the kernel's structures at the message's own buffers.
func (m *message) bind(data []byte) {
	m.data = data
	m.iov.Base = &data[0]
	m.hdr.Iov = &m.iov
	m.hdr.SetIovlen(1)
}

// receive reads one datagram, or what a stream has, into data from offset on
// and returns the number of bytes.
func (m *message) receive(fd, offset, flags int) (int, error) {
	m.iov.Base = &m.data[offset]
	m.iov.SetLen(len(m.data) - offset)
	m.hdr.Name = &m.name[0]
	m.hdr.Namelen = uint32(len(m.name))
	m.hdr.Control = &m.ctl[0]
	m.hdr.SetControllen(len(m.ctl))
	return m.call(unix.SYS_RECVMSG, fd, flags)
}

// reply sends the first n bytes of data to where the last receive came from,
// from the address that it was sent to: the kernel's own control message is
// handed back unread.
func (m *message) reply(fd, n int) error {
	m.iov.SetLen(n)
	m.hdr.Flags = 0
	_, err := m.call(unix.SYS_SENDMSG, fd, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	return err
}

func (m *message) call(trap uintptr, fd, flags int) (int, error) {
	for {
		n, _, errno := unix.Syscall(trap, uintptr(fd), uintptr(unsafe.Pointer(&m.hdr)), uintptr(flags))
		if errno == 0 {
			return int(n), nil
		}
		if errno != unix.EINTR {
			return 0, errno
		}
	}
}

// stamp returns the wall clock time at which the kernel received what the last
// receive read, if the socket has SO_TIMESTAMPNS set and the kernel told.
func (m *message) stamp() (time.Time, bool) {
	const need = unix.SizeofCmsghdr + int(unsafe.Sizeof(unix.Timespec{}))
	if int(m.hdr.Controllen) < need {
		return time.Time{}, false
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&m.ctl[0]))
	if h.Level != unix.SOL_SOCKET || h.Type != unix.SCM_TIMESTAMPNS || int(h.Len) < need {
		return time.Time{}, false
	}
	ts := (*unix.Timespec)(unsafe.Pointer(&m.ctl[unix.SizeofCmsghdr]))
	return time.Unix(ts.Unix()), true
}
