package script

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/wait"
)

// stopNote remembers, until the next boot, that a stop of a guest was begun and did not end in
// success. It is one file without contents, whose name tells a stop that failed from
// one that is under way or was killed.
type stopNote struct {
	begun, failed string // paths
}

func newStopNote(runDir, guest string) stopNote {
	path := filepath.Join(runDir, "heartbeat", url.PathEscape(guest))
	return stopNote{path + ".stop-begun", path + ".stop-failed"}
}

// exists reports whether there is a note. One that cannot be looked for counts.
func (n stopNote) exists() bool { return !absent(n.begun) || !absent(n.failed) }

func absent(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// hasFailed is for deciding what to try, not what to believe: only a note that is seen counts.
func (n stopNote) hasFailed() bool {
	_, err := os.Lstat(n.failed)
	return err == nil
}

// begin makes the note and reports whether a stop has failed before.
func (n stopNote) begin() (failed bool, err error) {
	if n.hasFailed() {
		return true, nil
	}
	if err := os.MkdirAll(filepath.Dir(n.begun), 0o700); err != nil {
		return false, fmt.Errorf("note that a stop begins: %w", err)
	}
	f, err := os.OpenFile(n.begun, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return false, fmt.Errorf("note that a stop begins: %w", err)
	}
	return false, f.Close()
}

// fail notes that the stop that was begun has failed.
func (n stopNote) fail() error {
	if n.hasFailed() {
		return nil
	}
	if err := os.Rename(n.begun, n.failed); err != nil {
		return fmt.Errorf("note that a stop failed: %w", err)
	}
	return nil
}

// clear removes the note: the guest is where it should be.
func (n stopNote) clear() error {
	for _, path := range []string{n.begun, n.failed} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the note of a stop: %w", err)
		}
	}
	return nil
}

// lockPoll is the time from one try for a lock to the next.
const lockPoll = 100 * time.Millisecond

// lockGuest waits until no other start or stop of the guest is under way on this node. After
// the other node's shutdown Heartbeat runs several at once, of the same guest too. The lock
// ends with unlock or with the process. Only a lock that somebody else holds is waited for.
func lockGuest(ctx context.Context, runDir, guest string, limit time.Duration) (unlock func(), err error) {
	path := filepath.Join(runDir, "heartbeat", url.PathEscape(guest)+".lock")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("lock guest %q: %w", guest, err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock guest %q: %w", guest, err)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := flock(ctx, f); err != nil {
		return nil, errors.Join(fmt.Errorf("another action on guest %q is under way: %w", guest, err), f.Close())
	}
	return func() { _ = f.Close() }, nil
}

func flock(ctx context.Context, f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return err
		}
		if wait.For(ctx, lockPoll) != nil {
			return context.Cause(ctx)
		}
	}
}
