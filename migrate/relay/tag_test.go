package relay

import (
	"encoding/binary"
	"errors"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/announce"
)

// leaveChecksums makes a device one that computes no checksums and makes no segments: the kernel then has to.
func (n network) leaveChecksums(dev string) {
	n.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	n.Must(err)
	defer func() { _ = unix.Close(fd) }()
	value := struct{ cmd, data uint32 }{cmd: unix.ETHTOOL_STXCSUM}
	request := struct { // struct ifreq
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}{data: unsafe.Pointer(&value)}
	copy(request.name[:], dev)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
		n.Fatal(errno)
	}
}

// sum is the ones' complement sum of RFC 1071, which is 0xffff over what has a right checksum.
func sum(parts ...[]byte) uint16 {
	var total uint32
	for _, p := range parts {
		for ; len(p) > 1; p = p[2:] {
			total += uint32(binary.BigEndian.Uint16(p))
		}
		if len(p) == 1 {
			total += uint32(p[0]) << 8
		}
	}
	for total > 0xffff {
		total = total>>16 + total&0xffff
	}
	return uint16(total)
}

// A frame that gets a tag still has its checksum filled in at the right place, and its segments made.
// (A bridge with VLANs does not take part, as not every kernel has one.)
func TestTaggedOnTheWire(t *testing.T) {
	n := newNetwork(t)
	n.leaveChecksums("up")
	client, guest := n.connect()
	n.exchange(client, guest, 1<<20)
	keep, err := openTapQueue(n.Link("vnet0").Attrs().Index, guestMAC)
	n.Must(err)
	defer keep.close()
	const size = 20_000
	_, err = client.Write(make([]byte, size))
	n.Must(err)

	wire := n.listen("sw1")
	send, err := openSender()
	n.Must(err)
	defer send.close()
	buffer := make([]byte, maxFrame)
	for {
		frame, err := keep.next(buffer)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		n.Must(err)
		frame, err = readdress(frame, portMAC, 7)
		n.Must(err)
		n.Must(send.send(announce.Outlet{Dev: "up", Index: n.Link("up").Attrs().Index, VLAN: 7}, frame))
	}
	payload := 0
	n.Eventually("all has arrived", func() bool {
		for {
			frame, tag := n.arrived(wire, buffer)
			if frame == nil {
				return payload == size
			}
			payload += n.checkTCP(frame, tag)
		}
	})
}

// listen opens a packet socket at a device.
func (n network) listen(dev string) (fd int) {
	n.Helper()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	n.Must(err)
	n.Cleanup(func() { _ = unix.Close(fd) })
	n.Must(unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1))
	n.Must(unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ALL), Ifindex: n.Link(dev).Attrs().Index}))
	return fd
}

// arrived is the next frame from the node's port, without the tag that it had; nil where there is none.
func (n network) arrived(fd int, buffer []byte) (frame []byte, tag uint16) {
	n.Helper()
	control := make([]byte, 64)
	for {
		size, controls, _, _, err := unix.Recvmsg(fd, buffer, control, 0)
		if errors.Is(err, unix.EAGAIN) {
			return nil, 0
		}
		n.Must(err)
		if announce.MAC(buffer[6:12]) != portMAC {
			continue // the guest's own
		}
		messages, err := unix.ParseSocketControlMessage(control[:controls])
		n.Must(err)
		const tagAt = 16 // tp_vlan_tci in struct tpacket_auxdata of linux/if_packet.h
		return buffer[:size], binary.NativeEndian.Uint16(messages[0].Data[tagAt:])
	}
}

// checkTCP returns how much a segment carries.
func (n network) checkTCP(frame []byte, tag uint16) (payload int) {
	n.Helper()
	const mtu, header = 1500, 20
	ip := frame[etherHeader:]
	length := int(binary.BigEndian.Uint16(ip[2:]))
	if tag != 7 || length > mtu || length > len(ip) {
		n.Fatalf("in VLAN %d came %d bytes", tag, length)
	}
	tcp := ip[header:length]
	pseudo := []byte{0, unix.IPPROTO_TCP, byte(len(tcp) >> 8), byte(len(tcp))}
	if sum(ip[:header]) != 0xffff || sum(ip[12:header], pseudo, tcp) != 0xffff {
		n.Errorf("a checksum is wrong in %x", ip[:2*header])
	}
	return len(tcp) - int(tcp[12]>>4)*4
}
