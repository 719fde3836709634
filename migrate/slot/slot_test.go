package slot

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

func TestSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := Pool{Dir: filepath.Join(t.TempDir(), "slots"), N: 2}
		a, errA := s.Acquire(t.Context(), func() { t.Error("waited for a free slot") })
		if s.Shared(a) {
			t.Error("the only one is not alone")
		}
		b, errB := s.Acquire(t.Context(), nil)
		if err := errors.Join(errA, errB); err != nil {
			t.Fatal(err)
		}
		if !s.Shared(a) || !s.Shared(b) {
			t.Error("each of two is alone")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		waited := 0
		if _, err := s.Acquire(ctx, func() { waited++ }); !errors.Is(err, context.DeadlineExceeded) || waited != 1 {
			t.Errorf("third of two: %v, told to wait %d times", err, waited)
		}
		go func() { time.Sleep(time.Second); b.Release(); b.Release() }()
		begin := time.Now()
		c, err := s.Acquire(t.Context(), nil)
		if took := time.Since(begin); err != nil || took > time.Second+2*pollEvery {
			t.Errorf("after a release: %v in %v", err, took)
		}
		a.Release()
		c.Release()
		(*Slot)(nil).Release()
	})
}

func TestSlotsDirErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (Pool{Dir: file}).Acquire(t.Context(), nil); err == nil {
		t.Error("a file was taken for the directory")
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "1"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := (Pool{Dir: dir}).Acquire(t.Context(), nil); err == nil {
		t.Error("a directory was taken for a slot")
	}
}

// TestSlotsOfDifferentKinds has callers with different N: nobody is ever one of more than its own.
func TestSlotsOfDifferentKinds(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		name string
		held []int // N of those who have a slot
		n    int
		free bool
	}{
		{"alone", nil, 1, true},
		{"two alone", []int{1}, 1, false},
		{"with one who bears nobody", []int{1}, 5, false},
		{"bears nobody", []int{5}, 1, false},
		{"a pair", []int{2}, 2, true},
		{"three of two", []int{2, 2}, 2, false},
		{"a third that only it bears", []int{2, 2}, 3, false},
		{"a pair of different patience", []int{2}, 16, true},
		{"a pair the other way round", []int{16}, 2, true},
		{"three, and one bears two", []int{16, 16}, 2, false},
		{"three", []int{3, 16}, 4, true},
		{"full", []int{16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16}, 16, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, n := range c.held {
				slot, err := Pool{Dir: dir, N: n, Most: MostAtOnce}.try()
				if err != nil || slot == nil {
					t.Fatalf("no slot for one of %v: %v", c.held, err)
				}
				defer slot.Release()
			}
			slot, err := Pool{Dir: dir, N: c.n, Most: MostAtOnce}.try()
			if err != nil || (slot != nil) != c.free {
				t.Errorf("N %d beside %v: got %v, %v", c.n, c.held, slot, err)
			}
			slot.Release()
		})
	}
}
