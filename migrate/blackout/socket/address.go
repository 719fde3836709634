package socket

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Sockaddr is the kernel's form of an address.
func Sockaddr(a netip.AddrPort) (unix.Sockaddr, error) {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}, nil
	}
	sa := &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	if zone := a.Addr().Zone(); zone != "" {
		link, err := net.InterfaceByName(zone)
		if err != nil {
			return nil, fmt.Errorf("interface %q: %w", zone, err)
		}
		sa.ZoneId = uint32(link.Index)
	}
	return sa, nil
}

// Address is the kernel's form of an address, as it is in memory.
type Address [unix.SizeofSockaddrInet6]byte

// AddressOf returns the form in memory of an address, and its length.
func AddressOf(sa unix.Sockaddr) (to Address, n uint32) {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		binary.NativeEndian.PutUint16(to[:], unix.AF_INET)
		binary.BigEndian.PutUint16(to[2:], uint16(sa.Port))
		copy(to[4:], sa.Addr[:])
		n = unix.SizeofSockaddrInet4
	case *unix.SockaddrInet6:
		binary.NativeEndian.PutUint16(to[:], unix.AF_INET6)
		binary.BigEndian.PutUint16(to[2:], uint16(sa.Port))
		copy(to[8:], sa.Addr[:])
		binary.NativeEndian.PutUint32(to[24:], sa.ZoneId)
		n = unix.SizeofSockaddrInet6
	}
	return to, n
}

// IP is the address without its port and zone.
func (a *Address) IP() netip.Addr {
	if binary.NativeEndian.Uint16(a[:]) == unix.AF_INET {
		return netip.AddrFrom4([4]byte(a[4:8]))
	}
	return netip.AddrFrom16([16]byte(a[8:24]))
}

// ReceiveBuffer is requested for every socket, so that answers wait in the
// kernel, with their time stamps, while this process does not run.
const ReceiveBuffer = 4 << 20

// Open opens a non-blocking socket with kernel time stamps.
func Open(at netip.AddrPort, kind, proto int) (int, error) {
	family := unix.AF_INET
	if at.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, proto)
	if err != nil {
		return -1, err
	}
	// Without the two of them the run is less exact, and its report shows it.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, ReceiveBuffer)
	return fd, nil
}
