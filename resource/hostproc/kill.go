package hostproc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Kill ends a guest's process and returns nil only with the proof that it ended:
// SIGTERM, on which QEMU flushes and closes its images, then SIGKILL after grace, then the
// kernel's word through the pidfd (pidfd_open(2)) that no thread of it is left. A
// process that has ended already is a success. At the end of ctx the process may still
// be there: a thread that waits for dead storage cannot be killed.
//
// p must be from List or Find, which return processes of libvirt's only.
func (h Host) Kill(ctx context.Context, p Process, grace time.Duration) error {
	fd, err := h.terminate(ctx, p)
	if err != nil || fd == nil {
		return err
	}
	defer func() { _ = fd.Close() }()
	soft, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	if err := waitExit(soft, fd); err == nil {
		return nil
	}
	if err := send(fd, unix.SIGKILL); err != nil {
		return fmt.Errorf("kill process %d: %w", p.PID, err)
	}
	if err := waitExit(ctx, fd); err != nil {
		return fmt.Errorf("wait for the end of process %d after SIGKILL: %w", p.PID, err)
	}
	return nil
}

// Terminate sends SIGTERM to exactly the process that was listed, and does not wait. It is no error where that has
// ended.
func (h Host) Terminate(p Process) error {
	fd, err := h.terminate(context.Background(), p)
	if fd != nil {
		_ = fd.Close()
	}
	return err
}

// terminate returns the pidfd of the process, nil where that has ended.
func (h Host) terminate(ctx context.Context, p Process) (*os.File, error) {
	fd, err := h.open(ctx, p)
	if err != nil || fd == nil {
		return nil, err
	}
	if err := send(fd, unix.SIGTERM); err != nil {
		_ = fd.Close()
		return nil, fmt.Errorf("terminate process %d: %w", p.PID, err)
	}
	return fd, nil
}

// open returns a pidfd of exactly the process that was listed, or nil when that has
// ended. The start time is compared after the pidfd is open: the process that
// had the number before and has it still is the one that the pidfd holds.
func (h Host) open(ctx context.Context, p Process) (*os.File, error) {
	if p.Domain {
		return nil, fmt.Errorf("%v is no process", p)
	}
	fd, err := unix.PidfdOpen(p.PID, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", p.PID, err)
	}
	file := os.NewFile(uintptr(fd), fmt.Sprintf("pidfd:%d", p.PID))
	stat, err := h.statNow(ctx, p.PID)
	if err == nil && stat.start == p.StartTime {
		return file, nil
	}
	_ = file.Close()
	if err != nil && !gone(err) {
		return nil, fmt.Errorf("identify process %d: %w", p.PID, err)
	}
	return nil, nil
}

func send(fd *os.File, sig unix.Signal) error {
	conn, err := fd.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	if err := conn.Control(func(fd uintptr) { sent = unix.PidfdSendSignal(int(fd), sig, nil, 0) }); err != nil {
		return err
	}
	if errors.Is(sent, unix.ESRCH) {
		return nil // ended already: the wait proves it
	}
	return sent
}

// waitExit returns nil when the process behind fd has ended, and the context's
// error when that comes first. A pidfd is readable from the end of the last thread on.
func waitExit(ctx context.Context, fd *os.File) error {
	conn, err := fd.SyscallConn()
	if err != nil {
		return err
	}
	if err := fd.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = fd.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var polled error
	err = conn.Read(func(fd uintptr) bool {
		var ended bool
		ended, polled = readable(fd)
		return ended || polled != nil
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		// Never nil: that would be a proof. A deadline is only ever set here, by ctx.
		return errors.Join(err, context.Cause(ctx))
	}
	return errors.Join(err, polled)
}

func readable(fd uintptr) (bool, error) {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	if errors.Is(err, unix.EINTR) {
		return false, nil
	}
	return n > 0, err
}
