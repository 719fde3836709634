package announce

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
)

// MAC is an Ethernet address.
type MAC [6]byte

var (
	everybody = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	allNodes  = MAC{0x33, 0x33, 0, 0, 0, 1} // RFC 2464, section 7
)

// ParseMAC reads a unicast Ethernet address, such as 52:54:00:12:34:56.
func ParseMAC(s string) (MAC, error) {
	hw, err := net.ParseMAC(s)
	if err != nil || len(hw) != len(MAC{}) || hw[0]&1 != 0 || MAC(hw) == (MAC{}) {
		return MAC{}, fmt.Errorf("%q is not a MAC address of a network card", s)
	}
	return MAC(hw), nil
}

// String is the usual form, in lower case.
func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// Sizes in bytes, and the numbers of protocols.
const (
	etherHeader = 14
	tagSize     = 4
	minFrame    = 60 // without the checksum that the card adds
	arpSize     = 28
	ipv6Header  = 40
	naSize      = 32 // with the option
	hopLimit    = 255

	etherARP  = 0x0806
	etherRARP = 0x8035
	etherIPv6 = 0x86dd
	etherVLAN = 0x8100

	arpRequest  = 1
	arpReply    = 2
	rarpRequest = 3

	protoICMPv6  = 58
	typeNA       = 136
	flagOverride = 0x20
	optTarget    = 2 // target link-layer address
)

// Frames are what is sent in one round for a card with these addresses: RARP first, then for each IPv4
// address an ARP request and a reply, for each IPv6 address a neighbour advertisement.
func Frames(mac MAC, addrs []netip.Addr) [][]byte {
	frames := [][]byte{RARP(mac)}
	for _, a := range addrs {
		if a.Is4() {
			frames = append(frames, ARPRequest(mac, a), ARPReply(mac, a))
		} else {
			frames = append(frames, Advertisement(mac, a))
		}
	}
	return frames
}

// RARP is a reverse ARP request of the card for itself, as QEMU sends it: a frame that teaches
// switches where the MAC is, and means nothing to hosts.
func RARP(mac MAC) []byte {
	var none [4]byte
	return arp(etherRARP, rarpRequest, mac, none, mac, none)
}

// ARPRequest is the ARP announcement of RFC 5227: a request for the sender's own address.
func ARPRequest(mac MAC, addr netip.Addr) []byte {
	return arp(etherARP, arpRequest, mac, addr.As4(), MAC{}, addr.As4())
}

// ARPReply is a gratuitous reply to everybody. All four of its addresses are the sender's.
func ARPReply(mac MAC, addr netip.Addr) []byte {
	return arp(etherARP, arpReply, mac, addr.As4(), mac, addr.As4())
}

// ethernet makes a frame with room for a payload, padded to the least length.
func ethernet(dst, src MAC, protocol uint16, size int) []byte {
	f := make([]byte, max(etherHeader+size, minFrame))
	copy(f, dst[:])
	copy(f[6:], src[:])
	binary.BigEndian.PutUint16(f[12:], protocol)
	return f
}

// arp is the packet of RFC 826 for IPv4 over Ethernet.
func arp(protocol, op uint16, sender MAC, senderIP [4]byte, target MAC, targetIP [4]byte) []byte {
	f := ethernet(everybody, sender, protocol, arpSize)
	p := f[etherHeader:]
	copy(p, []byte{0, 1, 0x08, 0x00, 6, 4})
	binary.BigEndian.PutUint16(p[6:], op)
	copy(p[8:], sender[:])
	copy(p[14:], senderIP[:])
	copy(p[18:], target[:])
	copy(p[24:], targetIP[:])
	return f
}

// Advertisement is an unsolicited neighbour advertisement to all nodes, with the override flag and
// the target's link-layer address (RFC 4861, sections 4.4 and 7.2.6).
func Advertisement(mac MAC, addr netip.Addr) []byte {
	f := ethernet(allNodes, mac, etherIPv6, ipv6Header+naSize)
	ip, na := f[etherHeader:], f[etherHeader+ipv6Header:]
	ip[0] = 6 << 4
	binary.BigEndian.PutUint16(ip[4:], naSize)
	ip[6], ip[7] = protoICMPv6, hopLimit
	own := addr.As16()
	copy(ip[8:], own[:])
	copy(ip[24:], []byte{0: 0xff, 1: 0x02, 15: 1}) // ff02::1
	na[0], na[4] = typeNA, flagOverride
	copy(na[8:], own[:])
	na[24], na[25] = optTarget, 1 // in units of eight bytes
	copy(na[26:], mac[:])
	binary.BigEndian.PutUint16(na[2:], ^sum6(ip))
	return f
}

// sum6 is the ones' complement sum over the pseudo header and the ICMPv6 message of an IPv6
// packet (RFC 8200, section 8.1). It is 0xffff where the checksum is right. What follows
// the message is padding.
func sum6(ip []byte) uint16 {
	size := int(binary.BigEndian.Uint16(ip[4:]))
	total := uint32(size) + protoICMPv6
	words := ip[8 : ipv6Header+size]
	for ; len(words) > 1; words = words[2:] {
		total += uint32(binary.BigEndian.Uint16(words))
	}
	for total > 0xffff {
		total = total>>16 + total&0xffff
	}
	return uint16(total)
}

// tagged is the frame in a VLAN (IEEE 802.1Q, priority 0); 0 is no VLAN.
func tagged(frame []byte, vlan uint16) []byte {
	if vlan == 0 {
		return frame
	}
	out := make([]byte, 0, len(frame)+tagSize)
	out = append(out, frame[:12]...)
	out = binary.BigEndian.AppendUint16(out, etherVLAN)
	out = binary.BigEndian.AppendUint16(out, vlan)
	return append(out, frame[12:]...)
}
