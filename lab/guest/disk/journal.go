package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"unsafe"
)

// Device is the disk a Journal writes to: an *os.File opened with O_DIRECT, so
// that reads show what is on the disk and not what this guest cached.
type Device interface {
	io.ReaderAt
	io.WriterAt
	// Sync returns when everything written is on stable storage.
	Sync() error
}

// Stats is what a Journal knows about its disk.
type Stats struct {
	// Boots counts the boots of this disk, this one included.
	Boots uint64
	// Counter is the counter of the last record that is known to be durable.
	Counter uint64
	// CounterAtBoot is the counter that this boot found on the disk.
	CounterAtBoot uint64
	// ForeignWrites counts the writes before which a slot held what this boot
	// did not write. Anything but 0 means that two copies of the guest ran.
	ForeignWrites uint64
	// WriteErrors counts the calls of Write that failed.
	WriteErrors uint64
}

// slot is what a Journal believes about one slot of the disk.
type slot struct {
	known  []byte // the last content seen or written
	unsure bool   // a write failed: old, new or torn, all are our own doing
}

// Journal writes the record of one boot. Write may be called from one goroutine
// at a time; Stats from any, also while a Write hangs in a disk that is gone.
type Journal struct {
	dev    Device
	bootID string
	slots  [2]slot
	next   int    // the slot that the next write goes to
	area   []byte // aligned, for reading both slots
	block  []byte // aligned, for writing one

	mu    sync.Mutex
	stats Stats
}

// Open reads the record on dev and returns a Journal that continues from it: one
// boot more, the same counter. Nothing is written before the first Write. It
// fails when dev cannot be read, or wraps ErrDamaged when both slots are
// damaged, because to start again from zero would hide a loss.
func Open(dev Device, bootID string) (*Journal, error) {
	if !printable(bootID) {
		return nil, fmt.Errorf("open disk record: boot id %q is not %d printable characters", bootID, bootIDLen)
	}
	j := &Journal{dev: dev, bootID: bootID, area: aligned(AreaSize), block: aligned(SlotSize)}
	if err := j.look(); err != nil {
		return nil, fmt.Errorf("open disk record: %w", err)
	}
	last, at, err := Newest(j.area)
	switch {
	case err == nil:
		j.next = 1 - at
	case errors.Is(err, ErrBlank):
		j.next = 0
	default:
		return nil, fmt.Errorf("open disk record: %w", err)
	}
	for i := range j.slots {
		j.slots[i].known = bytes.Clone(j.onDisk(i))
	}
	j.stats = Stats{Boots: last.Boots + 1, Counter: last.Counter, CounterAtBoot: last.Counter}
	return j, nil
}

// Stats returns the state after the last Write that returned.
func (j *Journal) Stats() Stats {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.stats
}

// Write looks for foreign writes and puts the next record on the disk. When it
// returns nil the record is durable. After an error the counter has not moved
// and the next Write tries the same slot again, so that the other slot's record
// stays whole.
func (j *Journal) Write() error {
	err := j.look()
	stats := j.Stats()
	if err == nil {
		if j.foreign() {
			stats.ForeignWrites++
		}
		err = j.put(Record{BootID: j.bootID, Boots: stats.Boots, Counter: stats.Counter + 1,
			Foreign: stats.ForeignWrites})
	}
	if err == nil {
		stats.Counter++
	} else {
		stats.WriteErrors++
	}
	j.mu.Lock()
	j.stats = stats
	j.mu.Unlock()
	return err
}

// look reads both slots into j.area: one request costs no more than half of it.
func (j *Journal) look() error {
	n, err := j.dev.ReadAt(j.area, 0)
	if n == AreaSize {
		return nil
	}
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read disk slots: %w", err)
}

// foreign reports whether a slot holds what this boot neither found nor wrote,
// and takes what it holds as known, so that each strange record counts once.
func (j *Journal) foreign() bool {
	found := false
	for i := range j.slots {
		s, now := &j.slots[i], j.onDisk(i)
		if bytes.Equal(s.known, now) {
			s.unsure = false
			continue
		}
		if !s.unsure || !j.mine(now) {
			found = true
		}
		copy(s.known, now)
		s.unsure = false
	}
	return found
}

// mine reports whether content may be the remains of this boot's failed write.
func (j *Journal) mine(content []byte) bool {
	r, err := Decode(content)
	return err != nil || r.BootID == j.bootID
}

// put writes r to the next slot and waits until it is durable.
func (j *Journal) put(r Record) error {
	if err := Encode(j.block, r); err != nil {
		return err
	}
	s := &j.slots[j.next]
	s.unsure = true
	if _, err := j.dev.WriteAt(j.block, int64(j.next)*SlotSize); err != nil {
		return fmt.Errorf("write disk slot %d: %w", j.next, err)
	}
	if err := j.dev.Sync(); err != nil {
		return fmt.Errorf("sync disk slot %d: %w", j.next, err)
	}
	copy(s.known, j.block)
	s.unsure = false
	j.next = 1 - j.next
	return nil
}

func (j *Journal) onDisk(i int) []byte { return j.area[i*SlotSize : (i+1)*SlotSize] }

// aligned returns n bytes at an address that O_DIRECT accepts.
func aligned(n int) []byte {
	b := make([]byte, n+SlotSize)
	skip := int(-uintptr(unsafe.Pointer(&b[0])) & (SlotSize - 1))
	return b[skip : skip+n : skip+n]
}
