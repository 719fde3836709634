package slot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/safefile"
)

// DefaultDir is where the slots' lock files are.
const DefaultDir = "/run/vmferry/slots"

// pollEvery is how often a waiter looks. The kernel's own waiting for a lock has no deadline.
const pollEvery = 100 * time.Millisecond

// MostAtOnce is the most migrations that ever leave a node at once, whatever N is.
const MostAtOnce = 16

// Pool bounds how many migrations leave a node at once, over all processes that use
// the same directory. The files in it are 1, 2, … N; who holds the lock of one has
// a slot. The kernel frees it when the holder dies.
//
// Where callers differ in N, each gives Most, which is the same for all: then nobody has a slot while more
// than its own N are under way, and nobody begins who would bring that about. It also takes the locks
// of N+1, … Most, shared with others of its kind, and so keeps out whoever would be one too many.
type Pool struct {
	Dir  string // DefaultDir when empty
	N    int    // 1 when not positive
	Most int    // the largest N of anybody, N when smaller
}

// Slot is a slot that is held.
type Slot struct{ locks []*os.File }

// Acquire takes a free slot, or waits for one until ctx ends. waiting, when not nil, is called
// once before it waits.
func (p Pool) Acquire(ctx context.Context, waiting func()) (*Slot, error) {
	return p.await(ctx, waiting, p.try)
}

// AcquireGuest takes the lock of one guest, which keeps its rehearsals apart from each other and from its migration:
// libvirt refuses a second one at once (qemuMigrationJobIsAllowed).
func (p Pool) AcquireGuest(ctx context.Context, uuid string) (*Slot, error) {
	return p.await(ctx, nil, func() (*Slot, error) {
		slot := &Slot{}
		if ok, err := slot.lock(filepath.Join(p.dir(), "guest-"+filepath.Base(uuid)), unix.LOCK_EX); !ok {
			return nil, err
		}
		return slot, nil
	})
}

// await tries until it has something, or ctx ends.
func (p Pool) await(ctx context.Context, waiting func(), try func() (*Slot, error)) (*Slot, error) {
	if err := safefile.MakeDir(p.dir()); err != nil {
		return nil, fmt.Errorf("make the directory of migration slots: %w", err)
	}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		slot, err := try()
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
			return nil, fmt.Errorf("wait for a migration slot in %q: %w", p.dir(), ctx.Err())
		}
	}
}

func (p Pool) dir() string { return cmp.Or(p.Dir, DefaultDir) }

func (p Pool) path(i int) string { return filepath.Join(p.dir(), strconv.Itoa(i)) }

// Shared reports whether somebody else holds a slot beside own.
func (p Pool) Shared(own *Slot) bool {
	for i := 1; i <= max(p.N, p.Most, 1); i++ {
		path := p.path(i)
		if len(own.locks) > 0 && own.locks[0].Name() == path {
			continue
		}
		f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		if err != nil {
			continue // nobody has ever held it
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return true
		}
	}
	return false
}

// try returns nil and no error when all slots are taken. It waits for nothing while it holds
// a lock, so that two who are in each other's way both go back.
func (p Pool) try() (*Slot, error) {
	n := max(p.N, 1)
	slot := &Slot{}
	for i := 1; i <= n && len(slot.locks) == 0; i++ {
		if _, err := slot.lock(p.path(i), unix.LOCK_EX); err != nil {
			return nil, err
		}
	}
	if len(slot.locks) == 0 {
		return nil, nil
	}
	for i := n + 1; i <= p.Most; i++ {
		if ok, err := slot.lock(p.path(i), unix.LOCK_SH); !ok {
			slot.Release()
			return nil, err
		}
	}
	return slot, nil
}

// lock adds the lock of one file to the slot, unless another process has it.
func (s *Slot) lock(path string, how int) (ok bool, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return false, fmt.Errorf("open a migration slot: %w", err)
	}
	err = unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
	if err == nil {
		s.locks = append(s.locks, f)
		return true, nil
	}
	_ = f.Close()
	if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
		return false, fmt.Errorf("lock migration slot %q: %w", path, err)
	}
	return false, nil
}

// Release gives the slot back. It may be called again, and on nil.
func (s *Slot) Release() {
	if s == nil {
		return
	}
	for _, f := range s.locks {
		_ = f.Close()
	}
	s.locks = nil
}
