package socket

import (
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// broadcast is the address of all hosts of the sender's own network (RFC 919).
var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// unicast reports whether the kernel's notes on a datagram name a destination that
// is neither a broadcast nor a multicast address. For IPv4 they show it by two
// addresses that differ: the destination, and the source for an answer (ip(7),
// IP_PKTINFO); the latter is zero when the datagram came before the kernel was requested to
// take notes. Without notes it is unicast.
func unicast(ctl []byte) bool {
	for len(ctl) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&ctl[0]))
		size := int(h.Len)
		if size < unix.SizeofCmsghdr || size > len(ctl) {
			return true
		}
		data := ctl[unix.SizeofCmsghdr:size]
		switch {
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			info := (*unix.Inet4Pktinfo)(unsafe.Pointer(&data[0]))
			to := netip.AddrFrom4(info.Addr)
			if to.IsMulticast() || to == broadcast || info.Spec_dst != [4]byte{} && info.Spec_dst != info.Addr {
				return false
			}
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			if netip.AddrFrom16([16]byte(data)).Unmap().IsMulticast() {
				return false
			}
		}
		ctl = ctl[min(unix.CmsgSpace(len(data)), len(ctl)):]
	}
	return true
}

// stampOf returns the wall clock time at which the kernel received a message,
// if the socket has SO_TIMESTAMPNS set and the kernel has it.
func stampOf(hdr *unix.Msghdr, ctl []byte) (time.Time, bool) {
	const need = unix.SizeofCmsghdr + int(unsafe.Sizeof(unix.Timespec{}))
	if int(hdr.Controllen) < need {
		return time.Time{}, false
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&ctl[0]))
	if h.Level != unix.SOL_SOCKET || h.Type != unix.SCM_TIMESTAMPNS || int(h.Len) < need {
		return time.Time{}, false
	}
	ts := (*unix.Timespec)(unsafe.Pointer(&ctl[unix.SizeofCmsghdr]))
	return time.Unix(ts.Unix()), true
}
