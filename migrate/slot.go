package migrate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultSlotDir is where the slots' lock files are.
const DefaultSlotDir = "/run/vmferry/slots"

// slotPoll is how often a waiter looks. The kernel's own waiting for a lock has no deadline.
const slotPoll = 100 * time.Millisecond

// Slots bounds how many migrations leave a node at once, over all processes that use
// the same directory. The files in it are 1, 2, … N; who holds the lock of one has
// a slot. The kernel frees it when the holder dies.
type Slots struct {
	Dir string // DefaultSlotDir when empty
	N   int    // 1 when not positive
}

// Slot is a slot that is held.
type Slot struct{ f *os.File }

// Acquire takes a free slot, or waits for one until ctx ends. waiting, when not nil, is called
// once before it waits.
func (s Slots) Acquire(ctx context.Context, waiting func()) (*Slot, error) {
	if s.Dir == "" {
		s.Dir = DefaultSlotDir
	}
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the directory of migration slots: %w", err)
	}
	tick := time.NewTicker(slotPoll)
	defer tick.Stop()
	for {
		slot, err := s.try()
		if slot != nil || err != nil {
			return slot, err
		}
		if waiting != nil {
			waiting()
			waiting = nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for a migration slot in %q: %w", s.Dir, ctx.Err())
		}
	}
}

// try returns nil and no error when all slots are taken.
func (s Slots) try() (*Slot, error) {
	for i := 1; i <= max(s.N, 1); i++ {
		path := filepath.Join(s.Dir, strconv.Itoa(i))
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, fmt.Errorf("open a migration slot: %w", err)
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return &Slot{f}, nil
		}
		_ = f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, fmt.Errorf("lock migration slot %q: %w", path, err)
		}
	}
	return nil, nil
}

// Release gives the slot back. It may be called again, and on nil.
func (s *Slot) Release() {
	if s != nil {
		_ = s.f.Close()
	}
}
