package disk

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"unsafe"
)

var errBroken = errors.New("input/output error")

// memory is a Device in memory. A write is torn after tear bytes when tear is
// not negative; broken operations fail.
type memory struct {
	content             []byte
	tear                int
	noRead, noSync      bool
	unsynced, unaligned int
}

func newMemory() *memory { return &memory{content: make([]byte, AreaSize), tear: -1} }

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	m.checkAligned(p, off)
	if m.noRead {
		return 0, errBroken
	}
	n := copy(p, m.content[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	m.checkAligned(p, off)
	if m.tear >= 0 {
		return copy(m.content[off:], p[:m.tear]), errBroken
	}
	m.unsynced++
	return copy(m.content[off:], p), nil
}

func (m *memory) Sync() error {
	if m.noSync {
		return errBroken
	}
	m.unsynced = 0
	return nil
}

func (m *memory) checkAligned(p []byte, off int64) {
	if uintptr(unsafe.Pointer(&p[0]))%SlotSize != 0 || off%SlotSize != 0 || len(p)%SlotSize != 0 {
		m.unaligned++
	}
}

func open(t *testing.T, m *memory, bootID string) *Journal {
	t.Helper()
	j, err := Open(m, bootID)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func write(t *testing.T, j *Journal, n int) {
	t.Helper()
	for range n {
		if err := j.Write(); err != nil {
			t.Fatal(err)
		}
	}
}

func newest(t *testing.T, m *memory) Record {
	t.Helper()
	r, err := Read(bytes.NewReader(m.content))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestJournalCountsOn(t *testing.T) {
	m := newMemory()
	for boot := uint64(1); boot <= 3; boot++ {
		j := open(t, m, bootA)
		write(t, j, 5)
		want := Stats{Boots: boot, Counter: 5 * boot, CounterAtBoot: 5 * (boot - 1)}
		if got := j.Stats(); got != want {
			t.Errorf("boot %d: got %+v, want %+v", boot, got, want)
		}
		if got := newest(t, m); got != (Record{BootID: bootA, Boots: boot, Counter: 5 * boot}) {
			t.Errorf("boot %d: on disk %+v", boot, got)
		}
	}
	if m.unaligned > 0 || m.unsynced > 0 {
		t.Errorf("%d unaligned requests, %d writes without sync", m.unaligned, m.unsynced)
	}
}

func TestOpenWritesNothing(t *testing.T) {
	m := newMemory()
	open(t, m, bootA)
	if !blank(m.content) {
		t.Error("the disk was changed")
	}
}

// TestTornWriteKeepsOlder tears the last write of a boot at every sector.
func TestTornWriteKeepsOlder(t *testing.T) {
	for tear := 0; tear < SlotSize; tear += 512 {
		m := newMemory()
		j := open(t, m, bootA)
		write(t, j, 4)
		m.tear = tear
		if err := j.Write(); !errors.Is(err, errBroken) {
			t.Fatalf("torn at %d: %v", tear, err)
		}
		m.tear = -1
		if s := open(t, m, bootB).Stats(); s.CounterAtBoot != 4 || s.Boots != 2 {
			t.Errorf("torn at %d: next boot found %+v", tear, s)
		}
	}
}

func TestWriteErrors(t *testing.T) {
	for name, spoil := range map[string]func(m *memory, on bool){
		"read":  func(m *memory, on bool) { m.noRead = on },
		"sync":  func(m *memory, on bool) { m.noSync = on },
		"write": func(m *memory, on bool) { m.tear = map[bool]int{true: 100, false: -1}[on] },
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory()
			j := open(t, m, bootA)
			write(t, j, 3)
			spoil(m, true)
			for range 2 {
				if err := j.Write(); !errors.Is(err, errBroken) {
					t.Fatalf("got %v", err)
				}
			}
			spoil(m, false)
			write(t, j, 1)
			if got, want := j.Stats(), (Stats{Boots: 1, Counter: 4, WriteErrors: 2}); got != want {
				t.Errorf("got %+v, want %+v: a failed write is not foreign and counts nothing", got, want)
			}
		})
	}
}

// TestTwoCopies lets two copies of a guest write in turn, in every order in
// which the second can come in: both must notice.
func TestTwoCopies(t *testing.T) {
	for before := range 4 {
		m := newMemory()
		first := open(t, m, bootA)
		write(t, first, before)
		second := open(t, m, bootB)
		for range 3 {
			write(t, second, 1)
			write(t, first, 1)
		}
		if a, b := first.Stats().ForeignWrites, second.Stats().ForeignWrites; a == 0 || b == 0 {
			t.Errorf("second copy after %d writes: first saw %d foreign writes, second %d", before, a, b)
		}
		if newest(t, m).Foreign == 0 {
			t.Errorf("second copy after %d writes: no trace of it on the disk", before)
		}
	}
}

func TestForeignCountsOnce(t *testing.T) {
	m := newMemory()
	j := open(t, m, bootA)
	write(t, j, 4)
	copy(m.content, encoded(t, Record{BootID: bootB, Boots: 1, Counter: 1}))
	write(t, j, 4)
	if got := j.Stats().ForeignWrites; got != 1 {
		t.Errorf("one foreign record was counted %d times", got)
	}
}

// TestForeignAfterFailedWrite: doubt about one's own write is no excuse for
// another boot's record.
func TestForeignAfterFailedWrite(t *testing.T) {
	m := newMemory()
	j := open(t, m, bootA)
	m.noSync = true
	if err := j.Write(); err == nil {
		t.Fatal("no error")
	}
	m.noSync = false
	copy(m.content, encoded(t, Record{BootID: bootB, Boots: 1, Counter: 1}))
	write(t, j, 1)
	if got := j.Stats().ForeignWrites; got != 1 {
		t.Errorf("got %d foreign writes, want 1", got)
	}
}

func TestOpenRefuses(t *testing.T) {
	damaged := newMemory()
	for i := range damaged.content {
		damaged.content[i] = 0xaa
	}
	if _, err := Open(damaged, bootA); !errors.Is(err, ErrDamaged) {
		t.Errorf("damaged disk: %v", err)
	}
	if _, err := Open(&memory{content: make([]byte, 512), tear: -1}, bootA); !errors.Is(err, io.EOF) {
		t.Errorf("short disk: %v", err)
	}
	if _, err := Open(newMemory(), "short"); err == nil {
		t.Error("bad boot id: no error")
	}
}
