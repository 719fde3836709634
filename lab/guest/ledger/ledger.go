package ledger

import (
	"encoding/binary"
	"errors"
	"io"
	"strconv"
	"sync"
	"unsafe"
)

// Device is the disk of a ledger: an *os.File opened with O_DIRECT and O_DSYNC, so that a write that returned is on
// stable storage, and a read shows what is on the disk.
type Device interface {
	io.ReaderAt
	io.WriterAt
}

// Ledger is the ledger of one boot. Its methods may be called from any goroutine; one that hangs in the disk keeps the
// others waiting.
type Ledger struct {
	dev        Device
	bootID     string
	generation uint64

	mu     sync.Mutex
	last   uint64
	block  []byte // aligned, for one record
	buffer []byte // aligned, for a scan

	filling sync.Mutex // numbers do not wait for the room
	room    []byte     // aligned, one MiB; nil before the first
	noise   uint64     // never 0
}

// Open scans the ledger on dev and continues it in a new generation. Nothing is written before the first number is.
func Open(dev Device, bootID string) (*Ledger, error) {
	l := &Ledger{dev: dev, bootID: bootID, block: aligned(BlockSize), buffer: aligned(chunk * BlockSize)}
	if len(bootID) != bootIDLen || !printable(bootID) {
		return nil, errors.New("open ledger: boot id " + strconv.Quote(bootID) + " is not 36 printable characters")
	}
	s, err := read(dev, 1, l.buffer)
	if err != nil {
		return nil, errors.New("open ledger: " + err.Error())
	}
	l.last, l.generation = s.Last(), s.Generation()+1
	l.noise = 88172645463325252 + l.generation
	return l, nil
}

// BootID is the one that Open was given.
func (l *Ledger) BootID() string { return l.bootID }

// Generation is this boot's.
func (l *Ledger) Generation() uint64 { return l.generation }

// Last is the newest number that this boot knows to be on the disk.
func (l *Ledger) Last() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// Put returns nil when the number is on the disk. Numbers are consecutive: one that is there already is not written
// again, and one that would leave a gap is an error, as the numbers between were lost. A write that failed may be
// repeated.
func (l *Ledger) Put(number uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case number == 0 || number > l.last+1:
		return errors.New("gap: the ledger ends at " + strconv.FormatUint(l.last, 10))
	case number <= l.last:
		return nil
	}
	if err := Encode(l.block, Record{Number: number, Generation: l.generation, BootID: l.bootID}); err != nil {
		return err
	}
	if _, err := l.dev.WriteAt(l.block, offset(number)); err != nil {
		return err
	}
	l.last = number
	return nil
}

// maxRoom bounds what a client may have filled, in MiB; where the disk is smaller, it says so itself.
const maxRoom = 1 << 20

// Fill writes noise to a MiB of the room after the ring, the first of which is 0: each time other noise. It returns nil
// when that is on the disk.
func (l *Ledger) Fill(mib uint64) error {
	if mib >= maxRoom {
		return errors.New("there is no such room")
	}
	l.filling.Lock()
	defer l.filling.Unlock()
	if l.room == nil {
		l.room = aligned(1 << 20)
	}
	for at := 0; at < len(l.room); at += 8 { // Marsaglia's xorshift
		l.noise ^= l.noise << 13
		l.noise ^= l.noise >> 7
		l.noise ^= l.noise << 17
		binary.LittleEndian.PutUint64(l.room[at:], l.noise)
	}
	_, err := l.dev.WriteAt(l.room, Room+int64(mib)<<20)
	return err
}

// Scan reads the records from the number first on from the disk.
func (l *Ledger) Scan(first uint64) (Scan, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return read(l.dev, first, l.buffer)
}

// aligned returns n bytes at an address that O_DIRECT accepts.
func aligned(n int) []byte {
	b := make([]byte, n+BlockSize)
	skip := int(-uintptr(unsafe.Pointer(&b[0])) & (BlockSize - 1))
	return b[skip : skip+n : skip+n]
}
