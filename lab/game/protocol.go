package game

import (
	"bytes"
	"encoding/binary"
)

// Sizes in bytes of the headers of a control packet and of a connectionless one, and how long the data of a request
// for a token must be, so that nobody can have more sent to another than he sends.
const (
	controlSize      = 7
	connlessSize     = 9
	tokenRequestSize = 512
)

const (
	controlFlag   = 1 << 2
	connlessFlag  = 8<<2 | 1 // with the protocol's version
	controlToken  = 5        // the message that carries a token
	noToken       = 1<<32 - 1
	maxPacketSize = 1400
)

var (
	getInfo = []byte("\xff\xff\xff\xffgie3")
	info    = []byte("\xff\xff\xff\xffinf3")
)

// tokenRequest is a packet that asks for the server's token; mine is what the answer must carry.
func tokenRequest(mine uint32) []byte {
	b := make([]byte, controlSize+1+tokenRequestSize)
	b[0] = controlFlag
	binary.BigEndian.PutUint32(b[3:], noToken)
	b[controlSize] = controlToken
	binary.BigEndian.PutUint32(b[controlSize+1:], mine)
	return b
}

// appendInfoRequest appends a request for the server's description to b. The answer carries mine and number, of which
// the lowest 31 bits are sent.
func appendInfoRequest(b []byte, server, mine uint32, number uint64) []byte {
	b = append(b, connlessFlag)
	b = binary.BigEndian.AppendUint32(b, server)
	b = binary.BigEndian.AppendUint32(b, mine)
	b = append(b, getInfo...)
	return appendInt(b, uint32(number)&maxInt)
}

// maxInt is the largest number that appendInt takes.
const maxInt = 1<<31 - 1

// appendInt appends a number that is not negative, in Teeworlds' variable form: six bits, then seven in each further
// byte, lowest first. The highest bit of a byte reports that another follows; 0x40 in the first is the sign.
func appendInt(b []byte, n uint32) []byte {
	last := byte(n & 0x3f)
	for n >>= 6; n != 0; n >>= 7 {
		b = append(b, last|0x80)
		last = byte(n & 0x7f)
	}
	return append(b, last)
}

// cutInt reads what appendInt wrote. It refuses negative numbers and ones of more than five bytes.
func cutInt(b []byte) (n uint32, ok bool) {
	if len(b) == 0 || b[0]&0x40 != 0 {
		return 0, false
	}
	n = uint32(b[0] & 0x3f)
	for i, shift := 0, 6; b[i]&0x80 != 0; shift += 7 {
		if i++; i == len(b) || i == 5 {
			return 0, false
		}
		n |= uint32(b[i]&0x7f) << shift
	}
	return n & maxInt, true
}

// reply is what the server sent: its token, or an answer to the request of that number.
type reply struct {
	isToken bool
	token   uint32
	number  uint32
}

// parse reads a packet of the server's to the client that chose mine. It does not look at the description itself.
func parse(b []byte, mine uint32) (r reply, ok bool) {
	switch {
	case len(b) >= controlSize+5 && b[0] == controlFlag && b[controlSize] == controlToken:
		r.isToken, r.token = true, binary.BigEndian.Uint32(b[controlSize+1:])
		return r, binary.BigEndian.Uint32(b[3:]) == mine && r.token != noToken
	case len(b) > connlessSize && b[0] == connlessFlag && binary.BigEndian.Uint32(b[1:]) == mine:
		rest, is := bytes.CutPrefix(b[connlessSize:], info)
		if !is {
			return reply{}, false
		}
		r.number, ok = cutInt(rest)
		return r, ok
	}
	return reply{}, false
}
