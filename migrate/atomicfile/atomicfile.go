package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// File makes what write writes the content of path, and returns when it is on the disk. The
// new file has mode 0600 unless write changes that. With an error the earlier file is there
// as it was, or, when only the directory could not be synced, the new one. A process that is
// killed may leave a hidden file beside it, .replace-NUMBER.
func File(path string, write func(*os.File) error) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".replace-*")
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the cause is already in err
		return err
	}
	return SyncDir(dir)
}

// Bytes is File with the content and the mode at hand.
func Bytes(path string, content []byte, mode fs.FileMode) error {
	return File(path, func(f *os.File) error {
		_, err := f.Write(content)
		return errors.Join(err, f.Chmod(mode))
	})
}

// SyncDir makes what was created, renamed or removed in a directory last through a power cut.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Lock waits for the lock of those that replace the file at path, which is of another file, path.lock: the one at path
// changes with each replacement. It makes their directory. The lock ends with unlock or with the process.
func Lock(path string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock: %w", err), lock.Close())
	}
	return func() { _ = lock.Close() }, nil
}
