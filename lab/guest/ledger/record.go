package ledger

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"slices"
)

// BlockSize is the size in bytes of one record on the disk, and the alignment that O_DIRECT needs.
const BlockSize = 4096

// Start is the offset in bytes of the ring on the disk.
const Start = 64 << 10

// Capacity is how many records the ring holds: the newest ones.
const Capacity = 2048

// End is the size in bytes that a disk needs at least.
const End = Start + Capacity*BlockSize

// Room is the offset in bytes of what [Ledger.Fill] fills, up to the disk's end.
const Room = 16 << 20

// A record, all integers little endian. The rest of its block is not used.
//
//	0    8  magic
//	8    4  version
//	16   8  number
//	24   8  generation
//	32  36  boot id
//	68   4  CRC-32C of everything before it
const (
	magic   = "VMFERRYL"
	version = 1

	offVersion    = 8
	offNumber     = 16
	offGeneration = 24
	offBootID     = 32
	bootIDLen     = 36
	offSum        = offBootID + bootIDLen
	recordLen     = offSum + 4
)

var (
	// ErrBlank says that a block has never held a record.
	ErrBlank = errors.New("block holds no record yet")
	// ErrDamaged says that a block holds something that is no valid record.
	ErrDamaged = errors.New("damaged ledger record")
)

// Record is one number on the disk.
type Record struct {
	Number     uint64 // from 1
	Generation uint64 // how many boots of the guest have written to this ledger, the one that wrote this included
	BootID     string // of the kernel that wrote it: 36 characters, as in /proc/sys/kernel/random/boot_id
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// slot is the place of a number in the ring.
func slot(number uint64) int64 { return int64((number - 1) % Capacity) }

// offset is the place of a number on the disk, in bytes.
func offset(number uint64) int64 { return Start + slot(number)*BlockSize }

// Encode writes r into block, which must be at least as long as a record. The boot id must be 36 bytes.
func Encode(block []byte, r Record) error {
	if len(block) < recordLen || len(r.BootID) != bootIDLen || r.Number == 0 {
		return errors.New("encode ledger record: a short block, a number 0 or a boot id that is not 36 bytes")
	}
	clear(block)
	copy(block, magic)
	binary.LittleEndian.PutUint32(block[offVersion:], version)
	binary.LittleEndian.PutUint64(block[offNumber:], r.Number)
	binary.LittleEndian.PutUint64(block[offGeneration:], r.Generation)
	copy(block[offBootID:], r.BootID)
	binary.LittleEndian.PutUint32(block[offSum:], crc32.Checksum(block[:offSum], castagnoli))
	return nil
}

// Decode reads the record in block. The error is [ErrBlank] for zeros and [ErrDamaged] for anything else that is no
// whole record.
func Decode(block []byte) (Record, error) {
	if len(block) < recordLen {
		return Record{}, ErrDamaged
	}
	head := block[:recordLen]
	if !slices.ContainsFunc(head, func(b byte) bool { return b != 0 }) {
		return Record{}, ErrBlank
	}
	r := Record{
		Number:     binary.LittleEndian.Uint64(head[offNumber:]),
		Generation: binary.LittleEndian.Uint64(head[offGeneration:]),
		BootID:     string(head[offBootID:offSum]),
	}
	if !bytes.HasPrefix(head, []byte(magic)) || binary.LittleEndian.Uint32(head[offVersion:]) != version ||
		binary.LittleEndian.Uint32(head[offSum:]) != crc32.Checksum(head[:offSum], castagnoli) || r.Number == 0 ||
		!printable(r.BootID) {
		return Record{}, ErrDamaged
	}
	return r, nil
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// Scan is what a ledger holds.
type Scan struct {
	Records []Record // in order of their numbers
	Damaged int      // blocks that hold no valid record, or one that belongs elsewhere
}

// Last is the newest number, 0 of an empty ledger.
func (s Scan) Last() uint64 {
	if len(s.Records) == 0 {
		return 0
	}
	return s.Records[len(s.Records)-1].Number
}

// Generation is the highest generation, 0 of an empty ledger.
func (s Scan) Generation() uint64 {
	var most uint64
	for _, r := range s.Records {
		most = max(most, r.Generation)
	}
	return most
}

// chunk is how many blocks are read at a time.
const chunk = 64

// Read scans the disk d, seen as its guest sees it: for a qcow2 image wrap it in disk.Guest first. Records before the
// number first are left out. A disk that ends early was never written to from there on.
func Read(d io.ReaderAt, first uint64) (Scan, error) { return read(d, first, aligned(chunk*BlockSize)) }

// read is Read with a buffer of whole blocks.
func read(d io.ReaderAt, first uint64, buffer []byte) (Scan, error) {
	var s Scan
	for at := int64(0); at < Capacity; at += int64(len(buffer) / BlockSize) {
		n, err := d.ReadAt(buffer, Start+at*BlockSize)
		if err != nil && !errors.Is(err, io.EOF) {
			return Scan{}, err
		}
		clear(buffer[n:])
		for i := range int64(len(buffer) / BlockSize) {
			r, err := Decode(buffer[i*BlockSize:])
			switch {
			case errors.Is(err, ErrBlank):
			case err != nil || slot(r.Number) != at+i:
				s.Damaged++
			case r.Number >= first:
				s.Records = append(s.Records, r)
			}
		}
	}
	slices.SortFunc(s.Records, func(a, b Record) int {
		if a.Number < b.Number {
			return -1
		}
		return 1 // no number has two places
	})
	return s, nil
}
