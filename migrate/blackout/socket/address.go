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

// AddressOf returns the kernel's form of an address, and its length. zone is
// the index of the interface of a link-local one.
func AddressOf(a netip.AddrPort, zone uint32) (to Address, n uint32) {
	binary.BigEndian.PutUint16(to[2:], a.Port())
	if a.Addr().Is4() {
		binary.NativeEndian.PutUint16(to[:], unix.AF_INET)
		four := a.Addr().As4()
		copy(to[4:], four[:])
		return to, unix.SizeofSockaddrInet4
	}
	binary.NativeEndian.PutUint16(to[:], unix.AF_INET6)
	sixteen := a.Addr().As16()
	copy(to[8:], sixteen[:])
	binary.NativeEndian.PutUint32(to[24:], zone)
	return to, unix.SizeofSockaddrInet6
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
