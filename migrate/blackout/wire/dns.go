package wire

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"strings"
)

// dns asks one question again and again (RFC 1035). A server that answers
// that there is no such name is a server that answers; one that fails or
// refuses is not.
type dns struct {
	question []byte // name, type and class
	salt     uint16
}

const (
	dnsHeader  = 12
	dnsNoError = 0
	dnsNoName  = 3
)

// NewDNS returns the mode that asks for the records of a kind of a name that EncodeName takes.
func NewDNS(name string, kind uint16) Mode {
	question, _ := EncodeName(nil, name)
	question = binary.BigEndian.AppendUint16(question, kind)
	return dns{question: binary.BigEndian.AppendUint16(question, 1), salt: uint16(rand.Uint32())}
}

func (dns) Shared() bool { return false }

func (m dns) Put(b []byte, p Packet) int {
	clear(b[:dnsHeader])
	binary.BigEndian.PutUint16(b, uint16(p.Seq)+m.salt)
	b[2] = 1 // recursion is desired
	b[5] = 1 // one question
	return dnsHeader + copy(b[dnsHeader:], m.question)
}

func (m dns) Classify(b []byte, last uint64) (Packet, error) {
	if len(b) < dnsHeader || b[2]&0x80 == 0 || last == 0 {
		return Packet{}, ErrPacket
	}
	if code := b[3] & 15; code != dnsNoError && code != dnsNoName {
		return Packet{}, ErrPacket
	}
	back := uint16(last) + m.salt - binary.BigEndian.Uint16(b) // how many probes ago
	if uint64(back) >= last {
		return Packet{}, ErrPacket
	}
	return Packet{Kind: Probe, Seq: last - uint64(back)}, nil
}

// EncodeName appends a domain name in the form of RFC 1035, section 3.1.
func EncodeName(b []byte, name string) ([]byte, error) {
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
