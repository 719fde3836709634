package wire

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Ask puts a request to the daemon behind a socket and waits for its answer, for as long
// as limit. Any error means that there is no answer, also when the daemon declined.
func Ask(socket string, r Request, limit time.Duration) (Answer, error) {
	line, err := Encode(r)
	if err != nil {
		return Answer{}, fmt.Errorf("write request: %w", err)
	}
	c := client{end: time.Now().Add(limit)}
	if err := c.connect(socket); err != nil {
		return Answer{}, fmt.Errorf("connect to %q: %w", socket, err)
	}
	defer func() { _ = unix.Close(c.fd) }()
	if err := c.send(line); err != nil {
		return Answer{}, fmt.Errorf("ask at %q: %w", socket, err)
	}
	line, err = c.receive()
	if err != nil {
		return Answer{}, fmt.Errorf("wait for an answer from %q: %w", socket, err)
	}
	return DecodeAnswer(line)
}

// client is one blocking conversation: package net would start threads for it.
type client struct {
	fd  int
	end time.Time // after which nothing is waited for
}

func (c *client) connect(socket string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	c.fd = fd
	err = c.retry(unix.SO_SNDTIMEO, func() error { return unix.Connect(fd, &unix.SockaddrUnix{Name: socket}) })
	if err == nil {
		err = Trusted(fd)
	}
	if err != nil {
		_ = unix.Close(fd)
	}
	return err
}

func (c *client) send(line []byte) error {
	for len(line) > 0 {
		var n int
		err := c.retry(unix.SO_SNDTIMEO, func() (err error) {
			n, err = unix.SendmsgN(c.fd, line, nil, nil, unix.MSG_NOSIGNAL)
			return err
		})
		if err != nil {
			return err
		}
		line = line[n:]
	}
	return nil
}

// receive reads up to the newline that ends the answer.
func (c *client) receive() ([]byte, error) {
	line, part := []byte(nil), make([]byte, 4096)
	for {
		var n int
		err := c.retry(unix.SO_RCVTIMEO, func() (err error) {
			n, err = unix.Read(c.fd, part)
			return err
		})
		switch {
		case err != nil:
			return nil, err
		case n == 0:
			return nil, errors.New("the daemon closed the connection")
		}
		line = append(line, part[:n]...)
		if i := bytes.IndexByte(line, '\n'); i >= 0 {
			return line[:i+1], nil
		}
		if len(line) >= MaxSize {
			return nil, errTooLong
		}
	}
}

// retry makes a call that waits no longer than the time that is left, and again when
// a signal interrupted it: Go's scheduler sends some.
func (c *client) retry(timer int, call func() error) error {
	for {
		left := time.Until(c.end)
		if left < time.Microsecond { // zero would be no limit at all
			return os.ErrDeadlineExceeded
		}
		tv := unix.NsecToTimeval(left.Nanoseconds())
		if err := unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, timer, &tv); err != nil {
			return err
		}
		switch err := call(); {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
		default:
			return err
		}
	}
}

// Peer is the process at the other end of a connected unix socket, as the kernel
// noted it when the connection was made (unix(7), SO_PEERCRED).
func Peer(fd int) (*unix.Ucred, error) {
	return unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
}

// Caller is the process at the other end of c, which must be Trusted.
func Caller(c syscall.Conn) (pid int, err error) {
	cred, err := Credentials(c)
	if err != nil {
		return 0, err
	}
	return int(cred.Pid), nil
}

// Credentials are those of the process at the other end of c, which must be Trusted.
func Credentials(c syscall.Conn) (cred *unix.Ucred, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var problem error
	err = raw.Control(func(fd uintptr) {
		if problem = Trusted(int(fd)); problem == nil {
			cred, problem = Peer(int(fd))
		}
	})
	if err = errors.Join(err, problem); err != nil {
		return nil, err
	}
	return cred, nil
}

// Trusted is an error unless the process at the other end is root's or runs as the same
// user as this one.
func Trusted(fd int) error {
	cred, err := Peer(fd)
	if err != nil {
		return fmt.Errorf("find out who is at the other end: %w", err)
	}
	if cred.Uid != 0 && int(cred.Uid) != os.Geteuid() {
		return fmt.Errorf("user %d is at the other end, and neither root nor this user", cred.Uid)
	}
	return nil
}
