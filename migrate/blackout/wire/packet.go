package wire

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"time"
)

// PacketSize is the size in bytes of a probe, of an answer and of a challenge,
// in a UDP datagram and in a TCP stream alike. All have the same size so that a
// reflector never sends more than it received and cannot amplify.
const PacketSize = 48

// StreamBuffer is room for what a TCP connection delivers in one read.
const StreamBuffer = 256 * PacketSize

// The layout, big endian:
//
//	 0  magic "vmfB"
//	 4  version, 2
//	 5  kind                1 probe, 2 answer, 3 challenge
//	 6  zero, 2 bytes
//	 8  session             drawn by watch, one per target
//	16  sequence            1, 2, 3 … counted by watch
//	24  sent                nanoseconds since watch began; the reflector does not read it
//	32  instance            answer: drawn by the reflector when it starts
//	40  count               answer: distinct probes of this session received so far
//	32  cookie, 16 bytes    challenge: what the client must put here in every probe
//
// Over TCP the cookie is not looked at: a connection proves as much.
const (
	packetMagic   = 0x766d6642
	packetVersion = 2
)

// The kinds of packets.
const (
	Probe     = 1
	Answer    = 2
	Challenge = 3
)

// What a reflector may expect of a watch at most.
const (
	MaxTargets  = 4096        // of one watch
	MaxInterval = time.Minute // between two probes to a target
)

// ErrPacket is for bytes that are not a packet of ours that is wanted here.
var ErrPacket = errors.New("not a blackout packet")

// Packet is a decoded probe, answer or challenge.
type Packet struct {
	Kind    byte
	Session uint64
	Seq     uint64
	Sent    time.Duration
	// Instance and Count are of an answer. In a probe and in a challenge they
	// are the two halves of the cookie.
	Instance uint64
	Count    uint64
}

// Cookie is what a reflector gives a client, to see that it gets its answers.
type Cookie [2]uint64

// Cookie is the cookie in a probe or a challenge.
func (p Packet) Cookie() Cookie { return Cookie{p.Instance, p.Count} }

// Put encodes p into b, which must hold PacketSize bytes.
func (p Packet) Put(b []byte) {
	_ = b[PacketSize-1]
	binary.BigEndian.PutUint32(b[0:], packetMagic)
	b[4], b[5], b[6], b[7] = packetVersion, p.Kind, 0, 0
	binary.BigEndian.PutUint64(b[8:], p.Session)
	binary.BigEndian.PutUint64(b[16:], p.Seq)
	binary.BigEndian.PutUint64(b[24:], uint64(p.Sent))
	binary.BigEndian.PutUint64(b[32:], p.Instance)
	binary.BigEndian.PutUint64(b[40:], p.Count)
}

// Parse decodes the first PacketSize bytes of b; what follows them is
// not looked at. Anything but a packet of the wanted kind is ErrPacket.
func Parse(b []byte, kind byte) (Packet, error) {
	p, err := ParseAny(b)
	if err != nil || p.Kind != kind {
		return Packet{}, ErrPacket
	}
	return p, nil
}

// ParseAny decodes a packet of any kind. A service may send an answer, a
// challenge, or the probe itself when it only echoes.
func ParseAny(b []byte) (Packet, error) {
	if len(b) < PacketSize || binary.BigEndian.Uint32(b) != packetMagic ||
		b[4] != packetVersion || b[5] < Probe || b[5] > Challenge || b[6] != 0 || b[7] != 0 {
		return Packet{}, ErrPacket
	}
	p := Packet{
		Kind:     b[5],
		Session:  binary.BigEndian.Uint64(b[8:]),
		Seq:      binary.BigEndian.Uint64(b[16:]),
		Sent:     time.Duration(binary.BigEndian.Uint64(b[24:])),
		Instance: binary.BigEndian.Uint64(b[32:]),
		Count:    binary.BigEndian.Uint64(b[40:]),
	}
	if p.Seq == 0 {
		return Packet{}, ErrPacket
	}
	return p, nil
}

// AnswerInPlace turns the probe in b into its answer without decoding it again.
func AnswerInPlace(b []byte, instance, count uint64) {
	b[5] = Answer
	binary.BigEndian.PutUint64(b[32:], instance)
	binary.BigEndian.PutUint64(b[40:], count)
}

// ChallengeInPlace turns the probe in b into the request to send it again with
// a cookie.
func ChallengeInPlace(b []byte, c Cookie) {
	b[5] = Challenge
	binary.BigEndian.PutUint64(b[32:], c[0])
	binary.BigEndian.PutUint64(b[40:], c[1])
}

// RandomID returns eight random bytes; crypto/rand does not fail on Linux.
func RandomID() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return binary.BigEndian.Uint64(b[:])
}
