package link

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
)

// Kind is what a message is.
type Kind uint8

// The kinds.
const (
	Renewal Kind = iota + 1
	Ack          // of the renewal with the same generation and sequence number
	Hello        // of a guard that renews nothing
	Echo         // of the hello with the same sequence number: both directions work
)

// Message is one datagram.
type Message struct {
	Kind       Kind
	From, To   int
	Generation uint64
	Sequence   uint64 // begins at 1 in each run of the sender's guard, and grows
	// counter of the newest slot of Generation that the sender knows to be on its lease device; 0: none
	Written uint64
	Run     uint64 // of the sender of the renewal: random, one for each run of its guard
}

const (
	magic     = "VMFL"
	plainSize = len(magic) + 1 + 1 + 1 + 1 + 4*8
	// Size is the size of a datagram in bytes.
	Size = plainSize + sha256.Size
)

// ErrRefused is the error of a datagram that no node of this cluster has sent.
var ErrRefused = errors.New("the datagram is not of this cluster")

// Seal is the datagram of m.
func (m Message) Seal(key []byte) []byte {
	b := append(make([]byte, 0, Size), magic...)
	b = append(b, 1, byte(m.Kind), byte(m.From), byte(m.To))
	b = binary.LittleEndian.AppendUint64(b, m.Generation)
	b = binary.LittleEndian.AppendUint64(b, m.Sequence)
	b = binary.LittleEndian.AppendUint64(b, m.Written)
	b = binary.LittleEndian.AppendUint64(b, m.Run)
	return append(b, sum(key, b)...)
}

// Unseal is the message in a datagram; its error is ErrRefused.
func Unseal(key, datagram []byte) (Message, error) {
	if len(datagram) != Size || !hmac.Equal(sum(key, datagram[:plainSize]), datagram[plainSize:]) {
		return Message{}, ErrRefused
	}
	b := datagram[len(magic):plainSize] // the magic is below the sum
	m := Message{
		Kind: Kind(b[1]), From: int(b[2]), To: int(b[3]), Generation: binary.LittleEndian.Uint64(b[4:]),
		Sequence: binary.LittleEndian.Uint64(b[12:]), Written: binary.LittleEndian.Uint64(b[20:]),
		Run: binary.LittleEndian.Uint64(b[28:]),
	}
	if b[0] != 1 || m.Kind < Renewal || m.Kind > Echo {
		return Message{}, ErrRefused
	}
	return m, nil
}

// Foreign reports whether a datagram that was refused is one of a guard that has another lease device, and which
// numbers it gives the sender and the receiver. Nothing proves who sent it.
func Foreign(datagram []byte) (from, to int, ok bool) {
	if len(datagram) != Size || string(datagram[:len(magic)]) != magic || datagram[len(magic)] != 1 {
		return 0, 0, false
	}
	return int(datagram[len(magic)+2]), int(datagram[len(magic)+3]), true
}

func sum(key, b []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(b)
	return h.Sum(nil)
}
