package blackout

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
	kindProbe     = 1
	kindAnswer    = 2
	kindChallenge = 3
)

// What a reflector may expect of a watch at most.
const (
	maxTargets  = 4096        // of one watch
	maxInterval = time.Minute // between two probes to a target
)

// errPacket tells that bytes are not a packet of ours that is wanted here.
var errPacket = errors.New("not a blackout packet")

// packet is a decoded probe, answer or challenge.
type packet struct {
	kind    byte
	session uint64
	seq     uint64
	sent    time.Duration
	// instance and count are of an answer. In a probe and in a challenge they
	// are the two halves of the cookie.
	instance uint64
	count    uint64
}

// cookie is what a reflector gives a client, to see that it gets its answers.
type cookie [2]uint64

func (p packet) cookie() cookie { return cookie{p.instance, p.count} }

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
	p, err := parseAny(b)
	if err != nil || p.kind != kind {
		return packet{}, errPacket
	}
	return p, nil
}

// parseAny decodes a packet of any kind. A service may send an answer, a
// challenge, or the probe itself when it only echoes.
func parseAny(b []byte) (packet, error) {
	if len(b) < PacketSize || binary.BigEndian.Uint32(b) != packetMagic ||
		b[4] != packetVersion || b[5] < kindProbe || b[5] > kindChallenge || b[6] != 0 || b[7] != 0 {
		return packet{}, errPacket
	}
	p := packet{
		kind:     b[5],
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

// challengeInPlace turns the probe in b into the request to send it again with
// a cookie.
func challengeInPlace(b []byte, c cookie) {
	b[5] = kindChallenge
	binary.BigEndian.PutUint64(b[32:], c[0])
	binary.BigEndian.PutUint64(b[40:], c[1])
}

// randomID returns eight random bytes; crypto/rand does not fail on Linux.
func randomID() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return binary.BigEndian.Uint64(b[:])
}
