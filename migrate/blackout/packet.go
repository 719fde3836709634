package blackout

import (
	"encoding/binary"
	"errors"
	"time"
)

// PacketSize is the size in bytes of a probe and of an answer, in a UDP
// datagram and in a TCP stream alike. Both have the same size so that a
// reflector never sends more than it received and cannot amplify.
const PacketSize = 48

// The layout, big endian:
//
//	 0  magic "vmfB"        probe and answer
//	 4  version, 1          probe and answer
//	 5  kind                1 probe, 2 answer
//	 6  zero, 2 bytes
//	 8  session             drawn by watch, one per target
//	16  sequence            1, 2, 3 … counted by watch
//	24  sent                nanoseconds since watch began; the reflector does not read it
//	32  instance            zero in a probe; drawn by the reflector when it starts
//	40  count               zero in a probe; distinct probes of this session received so far
const (
	packetMagic   = 0x766d6642
	packetVersion = 1
	kindProbe     = 1
	kindAnswer    = 2
)

// errPacket tells that bytes are neither a probe nor an answer of ours.
var errPacket = errors.New("not a blackout packet")

// packet is a decoded probe or answer.
type packet struct {
	kind     byte
	session  uint64
	seq      uint64
	sent     time.Duration
	instance uint64
	count    uint64
}

// put encodes p into b, which must hold PacketSize bytes.
func (p packet) put(b []byte) {
	_ = b[PacketSize-1]
	binary.BigEndian.PutUint32(b[0:], packetMagic)
	b[4], b[5], b[6], b[7] = packetVersion, p.kind, 0, 0
	binary.BigEndian.PutUint64(b[8:], p.session)
	binary.BigEndian.PutUint64(b[16:], p.seq)
	binary.BigEndian.PutUint64(b[24:], uint64(p.sent))
	binary.BigEndian.PutUint64(b[32:], p.instance)
	binary.BigEndian.PutUint64(b[40:], p.count)
}

// parsePacket decodes the first PacketSize bytes of b; what follows them is
// not looked at. Anything but a packet of the wanted kind is errPacket.
func parsePacket(b []byte, kind byte) (packet, error) {
	if len(b) < PacketSize || binary.BigEndian.Uint32(b) != packetMagic ||
		b[4] != packetVersion || b[5] != kind || b[6] != 0 || b[7] != 0 {
		return packet{}, errPacket
	}
	p := packet{
		kind:     kind,
		session:  binary.BigEndian.Uint64(b[8:]),
		seq:      binary.BigEndian.Uint64(b[16:]),
		sent:     time.Duration(binary.BigEndian.Uint64(b[24:])),
		instance: binary.BigEndian.Uint64(b[32:]),
		count:    binary.BigEndian.Uint64(b[40:]),
	}
	if p.seq == 0 {
		return packet{}, errPacket
	}
	return p, nil
}

// answerInPlace turns the probe in b into its answer without decoding it again.
func answerInPlace(b []byte, instance, count uint64) {
	b[5] = kindAnswer
	binary.BigEndian.PutUint64(b[32:], instance)
	binary.BigEndian.PutUint64(b[40:], count)
}
