package blackout

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"strings"
)

// mode is what a kind of target says on the wire. A probe is a packet, and an
// answer is one again: of kindAnswer from a reflector, with its counters; of
// kindProbe from a service that only echoes, so that nothing is known of the
// direction of losses; of kindChallenge where the probe must be sent again.
type mode interface {
	// put encodes a probe into b, which has room for maxProbe bytes, and
	// returns its length.
	put(b []byte, p packet) int
	// classify tells what the service sent. last is the newest probe. Anything
	// that does not answer a probe is errPacket.
	classify(b []byte, last uint64) (packet, error)
	// shared tells that answers name their session, so that many targets may
	// have one socket.
	shared() bool
}

// maxProbe is the length in bytes of the longest probe of any mode: a DNS
// question with a name of 255 bytes.
const maxProbe = 320

// echoMode speaks to our reflector, and to the echo service of RFC 862.
type echoMode struct{}

func (echoMode) shared() bool { return true }

func (echoMode) put(b []byte, p packet) int {
	p.put(b)
	return PacketSize
}

func (echoMode) classify(b []byte, _ uint64) (packet, error) { return parseAny(b) }

// icmpMode sends echo requests (RFC 792, RFC 4443) that carry our packet.
type icmpMode struct{ request, reply byte }

const icmpHeader = 8

func (icmpMode) shared() bool { return true }

func (m icmpMode) put(b []byte, p packet) int {
	b = b[:icmpHeader+PacketSize]
	clear(b[:icmpHeader])
	b[0] = m.request
	// A ping socket has an identifier of its own, and writes it here.
	binary.BigEndian.PutUint16(b[4:], uint16(p.session))
	binary.BigEndian.PutUint16(b[6:], uint16(p.seq))
	p.put(b[icmpHeader:])
	binary.BigEndian.PutUint16(b[2:], checksum(b)) // the kernel's, for IPv6
	return len(b)
}

// classify takes the answer apart; a raw socket puts the IPv4 header before it.
func (m icmpMode) classify(b []byte, _ uint64) (packet, error) {
	if len(b) > 0 && b[0]>>4 == 4 {
		b = b[min(int(b[0]&15)*4, len(b)):]
	}
	if len(b) < icmpHeader+PacketSize || b[0] != m.reply || b[1] != 0 {
		return packet{}, errPacket
	}
	return parsePacket(b[icmpHeader:], kindProbe)
}

// checksum is the internet checksum (RFC 1071) of an even number of bytes.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// dnsMode asks one question again and again (RFC 1035). A server that answers
// that there is no such name is a server that answers; one that fails or
// refuses is not.
type dnsMode struct {
	question []byte // name, type and class
	salt     uint16
}

const (
	dnsHeader  = 12
	dnsNoError = 0
	dnsNoName  = 3
)

func newDNSMode(e endpoint) dnsMode {
	question, _ := encodeName(nil, e.query) // parseTarget has tried it
	question = binary.BigEndian.AppendUint16(question, e.kind)
	return dnsMode{question: binary.BigEndian.AppendUint16(question, 1), salt: uint16(rand.Uint32())}
}

func (dnsMode) shared() bool { return false }

func (m dnsMode) put(b []byte, p packet) int {
	clear(b[:dnsHeader])
	binary.BigEndian.PutUint16(b, uint16(p.seq)+m.salt)
	b[2] = 1 // recursion is desired
	b[5] = 1 // one question
	return dnsHeader + copy(b[dnsHeader:], m.question)
}

func (m dnsMode) classify(b []byte, last uint64) (packet, error) {
	if len(b) < dnsHeader || b[2]&0x80 == 0 || last == 0 {
		return packet{}, errPacket
	}
	if code := b[3] & 15; code != dnsNoError && code != dnsNoName {
		return packet{}, errPacket
	}
	back := uint16(last) + m.salt - binary.BigEndian.Uint16(b) // how many probes ago
	if uint64(back) >= last {
		return packet{}, errPacket
	}
	return packet{kind: kindProbe, seq: last - uint64(back)}, nil
}

// encodeName appends a domain name in the form of RFC 1035, section 3.1.
func encodeName(b []byte, name string) ([]byte, error) {
	name = strings.TrimSuffix(name, ".")
	if len(name) > 253 {
		return nil, errors.New("the domain name is longer than 253 bytes")
	}
	if name != "" {
		for label := range strings.SplitSeq(name, ".") {
			if label == "" || len(label) > 63 {
				return nil, errors.New("a label of the domain name does not have 1 to 63 bytes")
			}
			b = append(append(b, byte(len(label))), label...)
		}
	}
	return append(b, 0), nil
}
