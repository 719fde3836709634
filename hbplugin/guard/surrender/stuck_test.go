package surrender

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/resource/hostproc"
	"github.com/vmferry/vmferry/resource/hostproc/hostproctest"
)

// A process in execve that waits for storage delays the proof for a few seconds, and does not prevent it. One that libvirt has
// made a guest's group for prevents it.
func TestProveBesideStuckProcess(t *testing.T) {
	const service = "0::/system.slice/vmferry-guard.service\n"
	const guests = "0::/machine.slice/machine-qemu\\x2d1\\x2dvm1.scope\n"
	for _, c := range []struct {
		cgroup string
		proven bool
		limit  time.Duration
	}{{service, true, time.Minute}, {guests, false, 4 * time.Second}} {
		t.Run(c.cgroup, func(t *testing.T) {
			t.Parallel()
			h := hostproc.Host{Proc: t.TempDir(), Run: t.TempDir(), System: true}
			stat := filepath.Join(h.Proc, "30", "stat")
			if err := errors.Join(hostproctest.Process{PID: 1, Comm: "systemd"}.Write(h.Proc),
				hostproctest.Process{PID: 30, Comm: "vmferry-guard", Cgroup: c.cgroup}.Write(h.Proc),
				os.Remove(stat), unix.Mkfifo(stat, 0o600)); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { // lets the readers go
				fd, err := unix.Open(stat, unix.O_RDWR|unix.O_NONBLOCK, 0)
				if err = errors.Join(err, os.Remove(stat)); err != nil {
					t.Error(err)
				}
				_ = unix.Close(fd)
			})
			k := &Killer{
				List:    h.List,
				Kill:    func(context.Context, hostproc.Process) error { return nil },
				Daemons: func(ctx context.Context) ([]hostproc.Process, error) { return h.Daemons(ctx, "virtqemud") },
				Now:     hostproc.Uptime,
			}
			ctx, cancel := context.WithTimeout(t.Context(), c.limit)
			defer cancel()
			err := k.Surrender(ctx)
			if c.proven && err != nil || !c.proven && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the proof: %v", err)
			}
		})
	}
}
