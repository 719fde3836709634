package script

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/wait"
)

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
