package accuracy

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// space is a network namespace. Sockets that are opened there, and processes that
// are started there, stay in it.
type space struct {
	fd    int
	net   *netlink.Handle
	gates *gates
	// births are carried out by the one thread that starts all processes: they are
	// killed when it ends, however this process does.
	births chan func()
}

// newSpace makes a namespace. It goes when it is closed and nothing is in it any more.
func newSpace() (*space, error) {
	s := &space{fd: -1, births: make(chan func())}
	made := make(chan error)
	go onThread(func() {
		made <- s.open()
		_ = hurry()
		for birth := range s.births {
			birth()
		}
	})
	if err := <-made; err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// open takes this thread into a new namespace, and makes what works on that.
func (s *space) open() (err error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("%w: unshare: %w", ErrUnsupported, err)
	}
	if s.fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	if s.net, err = netlink.NewHandle(); err != nil {
		return fmt.Errorf("%w: netlink: %w", ErrUnsupported, err)
	}
	if s.gates, err = newGates(); err != nil {
		return fmt.Errorf("%w: nf_tables: %w", ErrUnsupported, err)
	}
	return nil
}

// onThread runs f on a thread of its own, and waits for it. The thread may be
// changed as f likes: it ends with f.
func onThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: no other goroutine gets the thread
		f()
	}()
	<-done
}

// do runs f in the namespace, and waits for it; several may run at a time. It must not
// start processes.
//
// It runs before what else this machine does: how late an end of the wire is run cannot
// be distinguished from an outage. Without the right to it, the errors are wider.
func (s *space) do(f func()) (err error) {
	onThread(func() {
		if err = unix.Setns(s.fd, unix.CLONE_NEWNET); err != nil {
			err = fmt.Errorf("enter a namespace: %w", err)
			return
		}
		_ = hurry()
		f()
	})
	return err
}

// hurry lets this thread run before others.
func hurry() error { return unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), -15) }

// close kills what still runs in the namespace.
func (s *space) close() {
	close(s.births)
	if s.gates != nil {
		s.gates.close()
	}
	if s.net != nil {
		s.net.Close()
	}
	if s.fd >= 0 {
		_ = unix.Close(s.fd)
	}
}

// start starts a program in a namespace; stdout and stderr may be nil. It is killed when ctx
// ends, when this process does, or with the function that is returned, which waits for
// it. As much as what do runs, it runs before what else this machine does.
func (s *space) start(ctx context.Context, stdout, stderr io.Writer, name string, args ...string) (cmd *exec.Cmd,
	stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	cmd = exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = stdout, stderr, time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	born := make(chan error)
	s.births <- func() { born <- cmd.Start() }
	if err := <-born; err != nil {
		cancel()
		return nil, func() {}, fmt.Errorf("start %q: %w", name, err)
	}
	return cmd, func() { cancel(); _ = cmd.Wait() }, nil
}

// gone reports that a process that nobody waits for has ended.
func gone(cmd *exec.Cmd) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
	_, state, _ := strings.Cut(string(stat), ") ")
	return err != nil || strings.HasPrefix(state, "Z")
}
