package socket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// answerTime is how long a daemon that listens already may take to accept.
const answerTime = 5 * time.Second

// Listen makes the socket of a daemon of that name at path, for this user alone. One that a dead daemon left behind is
// replaced; one that answers is somebody's, and an error.
func Listen(path, daemon string) (*net.UnixListener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if err := removeStale(path, daemon); err != nil {
		return nil, err
	}
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		// The socket takes its mode from the descriptor when it is bound: it is
		// never there with another one.
		if cerr := raw.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) }); cerr != nil {
			return cerr
		}
		return err
	}}
	l, err := config.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	unixListener, ok := l.(*net.UnixListener)
	if !ok {
		return nil, errors.Join(fmt.Errorf("%T is not a unix socket", l), l.Close())
	}
	return unixListener, nil
}

func removeStale(path, daemon string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%q is in the way and is not a socket: remove it", path)
	}
	conn, err := net.DialTimeout("unix", path, answerTime)
	if err == nil {
		_ = conn.Close()
		return fmt.Errorf("another %s listens at %q", daemon, path)
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}
