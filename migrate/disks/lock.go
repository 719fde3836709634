package disks

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// lockDir has a file for each image that a move takes away, which root alone can open: a lock of the image itself is
// to be had by everybody who may read it.
const lockDir = "/run/vmferry/images"

// ErrBusy says that another process moves the guest of this image just now.
var ErrBusy = errors.New("a move of its guest is under way")

// lockOf locks an image against other moves on this node. The kernel ends that with the process. The error is
// [ErrBusy] where another has the lock.
func lockOf(image *os.File) (*os.File, error) {
	var at unix.Stat_t
	if err := unix.Fstat(int(image.Fd()), &at); err != nil {
		return nil, err
	}
	lock, err := openLock(image, fmt.Sprintf("%x-%x", at.Dev, at.Ino))
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrBusy
		}
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// openLock opens the image again for a user who is not root: he has no directory of his own here. QEMU's own locks are
// of another kind (F_OFD_SETLK), and the two do not meet.
func openLock(image *os.File, name string) (*os.File, error) {
	if os.Geteuid() != 0 {
		return os.OpenFile(image.Name(), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	}
	if err := os.MkdirAll(lockDir, 0o700); err != nil {
		return nil, err
	}
	return os.OpenFile(filepath.Join(lockDir, name), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
}
