package lease

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

const (
	// BlockSize is one block of the device, in bytes: the unit of direct I/O on every disk of today.
	BlockSize = 4096

	// MaxNodes is how many nodes a device has slots for. Nodes are numbered from 1.
	MaxNodes = 16

	// Size is the whole device in bytes, at least.
	Size = (1 + MaxNodes + MaxNodes*MaxNodes) * BlockSize

	sector  = 512 // what a disk writes as a whole
	version = 1
)

// The errors of a block that cannot be read.
var (
	// ErrEmpty is the error of a block of zeros: nothing was ever written.
	ErrEmpty = errors.New("the block is empty")

	// ErrForeign is the error of a block that holds something else.
	ErrForeign = errors.New("the block is not of a vmferry guard")

	// ErrChecksum is the error of a block that was written in part, or damaged.
	ErrChecksum = errors.New("the block has a wrong checksum")
)

// kind is the first eight bytes of a block.
type kind [8]byte

var (
	headerKind = kind([]byte("VMFGRDHD"))
	slotKind   = kind([]byte("VMFGRDSL"))
	claimKind  = kind([]byte("VMFGRDCL"))
)

// Blank reports whether a block has no data of anybody else: it is zeros, or a block of a lease device.
func Blank(block []byte) bool {
	if len(bytes.TrimLeft(block, "\x00")) == 0 {
		return true
	}
	k := kind(block[:len(kind{})])
	return k == headerKind || k == slotKind || k == claimKind
}

var table = crc32.MakeTable(crc32.Castagnoli)

// SlotOffset is where the slot of a node begins, in bytes.
func SlotOffset(node int) int64 { return int64(node) * BlockSize }

// ClaimOffset is where the claim of one node against another begins, in bytes.
func ClaimOffset(from, target int) int64 {
	return int64(1+MaxNodes+(from-1)*MaxNodes+target-1) * BlockSize
}

// encoder fills the first sector of a block.
type encoder struct{ b []byte }

// begin clears block, which has BlockSize bytes, and writes the kind.
func begin(block []byte, k kind) *encoder {
	clear(block)
	e := &encoder{b: append(block[:0], k[:]...)}
	e.u32(version)
	return e
}

func (e *encoder) u8(v uint8)     { e.b = append(e.b, v) }
func (e *encoder) u32(v uint32)   { e.b = binary.LittleEndian.AppendUint32(e.b, v) }
func (e *encoder) u64(v uint64)   { e.b = binary.LittleEndian.AppendUint64(e.b, v) }
func (e *encoder) bytes(v []byte) { e.b = append(e.b, v...) }
func (e *encoder) text(s string)  { e.u8(uint8(len(s))); e.bytes([]byte(s)) }
func (e *encoder) bit(v bool)     { e.u8(map[bool]uint8{true: 1}[v]) }

// end writes the checksum.
func (e *encoder) end(block []byte) {
	binary.LittleEndian.PutUint32(block[sector-4:], crc32.Checksum(block[:sector-4], table))
}

// decoder reads the first sector of a block. A read past its end makes bad true and gives zeros.
type decoder struct {
	b   []byte
	bad bool
}

// open checks the block's kind and checksum.
func open(block []byte, k kind) (*decoder, error) {
	if len(block) < sector {
		return nil, fmt.Errorf("%d bytes are no block", len(block))
	}
	block = block[:sector]
	switch {
	case len(bytes.TrimLeft(block, "\x00")) == 0:
		return nil, ErrEmpty
	case kind(block[:8]) != k:
		return nil, ErrForeign
	case crc32.Checksum(block[:sector-4], table) != binary.LittleEndian.Uint32(block[sector-4:]):
		return nil, ErrChecksum
	}
	d := &decoder{b: block[8 : sector-4]}
	if v := d.u32(); v != version {
		return nil, fmt.Errorf("the block has version %d: this vmferry knows %d", v, version)
	}
	return d, nil
}

func (d *decoder) bytes(n int) []byte {
	if n > len(d.b) {
		d.bad, d.b = true, nil
		return make([]byte, n)
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) u8() uint8    { return d.bytes(1)[0] }
func (d *decoder) u32() uint32  { return binary.LittleEndian.Uint32(d.bytes(4)) }
func (d *decoder) u64() uint64  { return binary.LittleEndian.Uint64(d.bytes(8)) }
func (d *decoder) text() string { return string(d.bytes(int(d.u8()))) }
func (d *decoder) bit() bool    { return d.u8() == 1 }
