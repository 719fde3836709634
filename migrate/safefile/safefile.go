package safefile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

var (
	// ErrForeign says that a user owns the file, or a link to it, whose files are not to be trusted there.
	ErrForeign = errors.New("another user owns it")
	// ErrNotFile says that there is something else than a regular file: a directory, a FIFO, a socket, a device.
	ErrNotFile = errors.New("it is not a regular file")
	// ErrTooLarge says that the file is larger than the caller's limit.
	ErrTooLarge = errors.New("it is too large")
)

// maxLinks is how many symbolic links are followed in a row, as the kernel has it.
const maxLinks = 40

// Owners are the users whose files are trusted. The zero value is root and the user of this process.
type Owners struct {
	anyone bool
	uids   []uint32
}

// Anyone trusts all users: for a path that an administrator has set, where its type and size matter alone.
var Anyone = Owners{anyone: true}

// Only trusts root, the user of this process, and the users with these numbers.
func Only(uids ...uint32) Owners { return Owners{uids: uids} }

// Has reports whether the user is trusted.
func (o Owners) Has(uid uint32) bool {
	return o.anyone || uid == 0 || uid == uint32(os.Geteuid()) || slices.Contains(o.uids, uid)
}

// OwnerOf is the user who owns what info reports, which comes from [os.Stat] or the like.
func OwnerOf(info fs.FileInfo) uint32 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Uid
	}
	return unknownOwner
}

func groupOf(info fs.FileInfo) uint32 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Gid
	}
	return unknownOwner
}

// unknownOwner is (uid_t)-1, which no user has (chown(2)).
const unknownOwner = 1<<32 - 1

// Look returns the path of a regular file behind the links of trusted users, and what it is, without opening it. Its
// errors are [ErrForeign], [ErrNotFile] and those of [os.Lstat].
func Look(path string, by Owners) (real string, info fs.FileInfo, err error) {
	for range maxLinks {
		info, err := os.Lstat(path)
		if err != nil {
			return "", nil, err
		}
		if !by.Has(OwnerOf(info)) {
			return "", nil, fmt.Errorf("%q: %w (uid %d)", path, ErrForeign, OwnerOf(info))
		}
		switch {
		case info.Mode().IsRegular():
			return path, info, nil
		case info.Mode()&fs.ModeSymlink == 0:
			return "", nil, fmt.Errorf("%q: %w", path, ErrNotFile)
		}
		to, err := os.Readlink(path)
		if err != nil {
			return "", nil, err
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(path), to)
		}
		path = to
	}
	return "", nil, fmt.Errorf("%q: %w", path, unix.ELOOP)
}

// Open opens a regular file for reading. It does not wait: not for the writer of a FIFO, nor for the holder of a lease.
// Its errors are those of [Look] and of [os.OpenFile]; a file that is exchanged meanwhile is ErrForeign.
func Open(path string, by Owners) (*os.File, error) {
	real, before, err := Look(path, by)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(real, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	switch {
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENXIO), errors.Is(err, unix.EWOULDBLOCK):
		return nil, fmt.Errorf("%q: %w: %w", path, ErrForeign, err)
	case err != nil:
		return nil, err
	}
	now, err := f.Stat()
	if err == nil && !os.SameFile(before, now) {
		err = fmt.Errorf("%q: %w: it was exchanged while it was opened", path, ErrForeign)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Read reads a regular file of at most limit bytes. Its errors are those of [Open], of reading, and [ErrTooLarge].
func Read(path string, limit int64, by Owners) ([]byte, error) {
	f, err := Open(path, by)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(raw)) > limit {
		raw, err = nil, fmt.Errorf("%q: %w: more than %d bytes", path, ErrTooLarge, limit)
	}
	return raw, err
}

// NotOurs reports whether the error says that a path holds nothing that a trusted user has put there.
func NotOurs(err error) bool { return errors.Is(err, ErrForeign) || errors.Is(err, ErrNotFile) }
