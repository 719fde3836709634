package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// SlotSize is the size in bytes of one slot, and the alignment that O_DIRECT
// needs for memory and offsets.
const SlotSize = 4096

// AreaSize is the size in bytes of both slots: the part of the disk, from its
// start, that this package owns.
const AreaSize = 2 * SlotSize

// A slot, all integers little endian:
//
//	0     8  magic
//	8     4  version
//	16    8  boots
//	24    8  counter
//	32    8  foreign writes
//	40   36  boot id
//	4092  4  CRC-32C of everything before it
const (
	magic   = "VMFERRYD"
	version = 1

	offVersion = 8
	offBoots   = 16
	offCounter = 24
	offForeign = 32
	offBootID  = 40
	offSum     = SlotSize - 4

	bootIDLen = 36
)

var (
	// ErrBlank says that the disk has never held a record.
	ErrBlank = errors.New("disk holds no record yet")
	// ErrDamaged says that a slot, or both slots of a disk, hold something that
	// is no valid record.
	ErrDamaged = errors.New("damaged disk record")
)

// Record is what a guest keeps on its disk.
type Record struct {
	// BootID is the kernel's random boot id of the boot that wrote the record:
	// 36 characters, as in /proc/sys/kernel/random/boot_id.
	BootID string
	// Boots counts the boots that wrote to this disk, from 1.
	Boots uint64
	// Counter counts the records written over the disk's whole life.
	Counter uint64
	// Foreign counts how often this boot found a record that it had not written.
	Foreign uint64
}

// newerThan orders records by the time at which they were written.
func (r Record) newerThan(other Record) bool {
	if r.Boots != other.Boots {
		return r.Boots > other.Boots
	}
	return r.Counter > other.Counter
}

// Encode writes r into slot, which must be SlotSize bytes long. It fails when
// the boot id is not 36 printable characters.
func Encode(slot []byte, r Record) error {
	if len(slot) != SlotSize {
		return fmt.Errorf("encode disk record: slot has %d bytes, want %d", len(slot), SlotSize)
	}
	if !printable(r.BootID) {
		return fmt.Errorf("encode disk record: boot id %q is not %d printable characters", r.BootID, bootIDLen)
	}
	clear(slot)
	copy(slot, magic)
	binary.LittleEndian.PutUint32(slot[offVersion:], version)
	binary.LittleEndian.PutUint64(slot[offBoots:], r.Boots)
	binary.LittleEndian.PutUint64(slot[offCounter:], r.Counter)
	binary.LittleEndian.PutUint64(slot[offForeign:], r.Foreign)
	copy(slot[offBootID:], r.BootID)
	binary.LittleEndian.PutUint32(slot[offSum:], sum(slot))
	return nil
}

// Decode reads the record in slot. The error is ErrBlank for a slot of zeros
// and wraps ErrDamaged, with the reason, for anything else that is not a whole
// record.
func Decode(slot []byte) (Record, error) {
	switch {
	case len(slot) != SlotSize:
		return Record{}, fmt.Errorf("%w: slot has %d bytes, want %d", ErrDamaged, len(slot), SlotSize)
	case blank(slot):
		return Record{}, ErrBlank
	case !bytes.HasPrefix(slot, []byte(magic)):
		return Record{}, fmt.Errorf("%w: no magic", ErrDamaged)
	case binary.LittleEndian.Uint32(slot[offSum:]) != sum(slot):
		return Record{}, fmt.Errorf("%w: wrong checksum", ErrDamaged)
	}
	if v := binary.LittleEndian.Uint32(slot[offVersion:]); v != version {
		return Record{}, fmt.Errorf("%w: version %d, want %d", ErrDamaged, v, version)
	}
	id := string(slot[offBootID : offBootID+bootIDLen])
	if !printable(id) {
		return Record{}, fmt.Errorf("%w: boot id %q", ErrDamaged, id)
	}
	return Record{
		BootID:  id,
		Boots:   binary.LittleEndian.Uint64(slot[offBoots:]),
		Counter: binary.LittleEndian.Uint64(slot[offCounter:]),
		Foreign: binary.LittleEndian.Uint64(slot[offForeign:]),
	}, nil
}

// Newest picks the newer valid record out of both slots (area is AreaSize bytes)
// and says in which slot, 0 or 1, it lies. One torn slot is passed over. Without
// a valid record the error is ErrBlank when a slot was never written, as after a
// first write that was torn, and else ErrDamaged.
func Newest(area []byte) (r Record, slot int, err error) {
	if len(area) != AreaSize {
		return Record{}, 0, fmt.Errorf("%w: %d bytes, want %d", ErrDamaged, len(area), AreaSize)
	}
	a, errA := Decode(area[:SlotSize])
	b, errB := Decode(area[SlotSize:])
	switch {
	case errA == nil && (errB != nil || !b.newerThan(a)):
		return a, 0, nil
	case errB == nil:
		return b, 1, nil
	case errors.Is(errA, ErrBlank), errors.Is(errB, ErrBlank):
		return Record{}, 0, ErrBlank
	}
	return Record{}, 0, errA
}

// Read returns the newest record of a disk, seen as the guest sees it: for a
// qcow2 image wrap it in [Guest] first. The errors are those of Newest, and
// ErrBlank for a disk that is shorter than AreaSize because nothing was ever
// written to it.
func Read(d io.ReaderAt) (Record, error) {
	area := make([]byte, AreaSize)
	n, err := d.ReadAt(area, 0)
	if err != nil && !(errors.Is(err, io.EOF) && (n == 0 || n == AreaSize)) {
		return Record{}, fmt.Errorf("read disk record: %w", err)
	}
	r, _, err := Newest(area)
	return r, err
}

func sum(slot []byte) uint32 {
	return crc32.Checksum(slot[:offSum], crc32.MakeTable(crc32.Castagnoli))
}

func blank(slot []byte) bool {
	for _, b := range slot {
		if b != 0 {
			return false
		}
	}
	return true
}

func printable(id string) bool {
	for i := range len(id) {
		if id[i] < '!' || id[i] > '~' {
			return false
		}
	}
	return len(id) == bootIDLen
}
