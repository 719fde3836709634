package wire

import (
	"encoding/binary"
)

// icmp sends echo requests (RFC 792, RFC 4443) with our packet as data.
type icmp struct{ request, reply byte }

// The modes of the two versions of ICMP.
var (
	ICMPv4 Mode = icmp{request: 8, reply: 0}     // RFC 792
	ICMPv6 Mode = icmp{request: 128, reply: 129} // RFC 4443
)

const icmpHeader = 8

func (icmp) Shared() bool { return true }

func (m icmp) Put(b []byte, p Packet) int {
	b = b[:icmpHeader+PacketSize]
	clear(b[:icmpHeader])
	b[0] = m.request
	// A ping socket has an identifier of its own, and writes it here.
	binary.BigEndian.PutUint16(b[4:], uint16(p.Session))
	binary.BigEndian.PutUint16(b[6:], uint16(p.Seq))
	p.Put(b[icmpHeader:])
	binary.BigEndian.PutUint16(b[2:], Checksum(b)) // the kernel's, for IPv6
	return len(b)
}

// Classify takes the answer apart; a raw socket puts the IPv4 header before it.
func (m icmp) Classify(b []byte, _ uint64) (Packet, error) {
	if len(b) > 0 && b[0]>>4 == 4 {
		b = b[min(int(b[0]&15)*4, len(b)):]
	}
	if len(b) < icmpHeader+PacketSize || b[0] != m.reply || b[1] != 0 {
		return Packet{}, ErrPacket
	}
	return Parse(b[icmpHeader:], Probe)
}

// Checksum is the internet checksum (RFC 1071) of an even number of bytes.
func Checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
