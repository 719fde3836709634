package hostproc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// halts has each read of some files of a process block until the test ends.
func (f tree) halts(pid int, files ...string) {
	f.t.Helper()
	dir := filepath.Join(f.host.Proc, strconv.Itoa(pid))
	for _, file := range files {
		path := filepath.Join(dir, file)
		_ = os.Remove(path)
		if err := unix.Mkfifo(path, 0o600); err != nil {
			f.t.Fatal(err)
		}
		f.t.Cleanup(func() { // as in blocked
			fd, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK, 0)
			if err = errors.Join(err, os.Remove(path)); err != nil {
				f.t.Error(err)
			}
			_ = unix.Close(fd)
		})
	}
}

// named has status tell a process of root's name and parent.
func (f tree) named(pid int, name string, parent int) {
	f.write(filepath.Join(f.host.Proc, strconv.Itoa(pid), "status"),
		fmt.Sprintf("Name:\t%s\nPPid:\t%d\nUid:\t0\t0\t0\t0\nNSpid:\t%d\n", name, parent, pid))
}

// stuckCalls are those about processes of this tree.
func (f tree) stuckCalls() (n int) {
	stuck.mu.Lock()
	defer stuck.mu.Unlock()
	for call, count := range stuck.calls {
		if strings.HasPrefix(call.dir, f.host.Proc) {
			n += count
		}
	}
	return n
}

// One process that blocks a reader makes a listing incomplete only where it may be a guest's.
func TestStuckProcess(t *testing.T) {
	const libvirts, service = "0::/system.slice/libvirtd.service\n", "0::/system.slice/cron.service\n"
	locked := []string{"stat", "auxv"} // what execve keeps from being read
	for _, c := range []struct {
		name         string
		comm, cgroup string
		exe          string // empty: it executes no file
		files        []string
		doubt, other bool // about vm1, and about another guest
	}{
		{"auxv of a program in execve", "bash", "0::/\n", "/usr/bin/bash", []string{"auxv"}, false, false},
		{"auxv of what executes a QEMU", "rpc-libvirtd", libvirts, qemu, []string{"auxv"}, true, true},
		{"a guest's, auxv", "qemu-system-x86", scope("vm1"), qemu, []string{"auxv"}, true, false}, // it has no arguments
		{"a service", "cron", service, "", locked, false, false},
		{"of libvirt's service", "rpc-libvirtd", libvirts, "", locked, false, false},
		{"of libvirt's service, and no command line", "x", libvirts, "", []string{"stat", "cmdline"}, true, true},
		{"a QEMU in a service", "qemu-system-x86", service, "", locked, true, true},
		{"a QEMU at the root", "qemu-system-x86", "0::/\n", "", locked, true, true},
		{"a container's", "qemu-system-x86", "0::/system.slice/docker-1.scope\n", "", locked, false, false},
		{"a kernel thread", "kworker/0:1", "0::/\n", "", locked, false, false},
		{"in a guest's group", "rpc-libvirtd", scope("vm1"), "", locked, true, false},
		{"a helper", "qemu-storage-da", "0::/\n", "", locked, false, false},
		{"in a service, status", "cron", service, "", []string{"stat", "status"}, true, true},
		{"in a service, cgroup", "cron", service, "", []string{"stat", "cgroup"}, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newTree(t)
			f.host.System = true
			f.guest(40, "vm2", uuidB)
			f.process(30, c.comm, 'D')
			f.named(30, c.comm, 1)
			f.cgroup(30, c.cgroup)
			if c.exe != "" {
				f.program(30, c.exe)
			}
			f.halts(30, c.files...)
			for guest, want := range map[string]bool{"vm1": c.doubt, "vm9": c.other} {
				if _, err := f.host.Find(t.Context(), guest, ""); errors.Is(err, ErrIncomplete) != want {
					t.Errorf("%s: %v; want doubt: %v", guest, err, want)
				}
			}
			if found, _ := f.host.List(t.Context()); len(found) != 1 || found[0].Name != "vm2" {
				t.Errorf("found %v", found)
			}
		})
	}
}

// What blocks is waited for once, and costs no more goroutines with each listing.
func TestStuckProcessIsRemembered(t *testing.T) {
	f := newTree(t)
	f.host.System = true
	for pid := 30; pid < 35; pid++ {
		f.process(pid, "cron", 'D')
		f.cgroup(pid, "0::/system.slice/cron.service\n")
		f.program(pid, "/usr/sbin/cron")
		f.halts(pid, "stat")
	}
	begun := time.Now()
	if found, err := f.host.List(t.Context()); len(found) != 0 || err != nil {
		t.Fatal(found, err)
	}
	if took := time.Since(begun); took > 20*patience {
		t.Errorf("the first listing took %v", took)
	}
	before := f.stuckCalls()
	begun = time.Now()
	for range 50 {
		if found, err := f.host.List(t.Context()); len(found) != 0 || err != nil {
			t.Fatal(found, err)
		}
	}
	if took := time.Since(begun); took > 40*patience { // and not 50 times as long as the first
		t.Errorf("50 listings took %v", took)
	}
	if after := f.stuckCalls(); before > 10 || after > 10 {
		t.Errorf("%d calls are stuck after one listing, %d after 51; want two a process at most", before, after)
	}
	// Another process that gets the number is looked at.
	dir, before30 := filepath.Join(f.host.Proc, "30"), filepath.Join(t.TempDir(), "30")
	if err := os.Rename(dir, before30); err != nil {
		t.Fatal(err)
	}
	f.guest(30, "vm1", uuidA)
	if found, err := f.host.List(t.Context()); len(found) != 1 || err != nil {
		t.Errorf("after another process got the number: %v, %v", found, err)
	}
	if err := errors.Join(os.RemoveAll(dir), os.Rename(before30, dir)); err != nil {
		t.Error(err)
	}
}

// The reader that took a process's memory apart is left to it; the next one gets an answer.
func TestStuckOnce(t *testing.T) {
	f := newTree(t)
	release := make(chan struct{})
	defer close(release)
	tries := 0
	got, err := askOne(t.Context(), f.host, "once", 1, func(d depth) (int, error) {
		if d == whole {
			<-release
			return 0, nil
		}
		tries++
		return 7, nil
	})
	if got != 7 || err != nil || tries != 1 {
		t.Errorf("%d, %v, %d tries", got, err, tries)
	}
}

// The end of the caller's time ends a question that blocks.
func TestStuckUntilTheEndOfTime(t *testing.T) {
	f := newTree(t)
	f.process(30, "virtqemud", 'D')
	f.program(30, "/usr/sbin/virtqemud")
	f.halts(30, "stat", "cgroup", "comm")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	anyName := func(string) bool { return true }
	_, listErr := f.host.List(ctx)
	_, daemonErr := f.host.IsDaemon(ctx, 30, anyName, 0)
	_, hasErr := f.host.HasDaemon(ctx, anyName, 99)
	_, daemonsErr := f.host.Daemons(ctx, "virtqemud")
	for _, err := range []error{listErr, daemonErr, hasErr, daemonsErr} {
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
	}
}

func TestStuckDaemon(t *testing.T) {
	const libvirts, service = "0::/system.slice/libvirtd.service\n", "0::/system.slice/cron.service\n"
	for _, c := range []struct {
		name, cgroup, parent, exe string
		daemons, pacemakers       bool // whether it may be one
	}{
		{"rpc-virtqemud", libvirts, "rpc-virtqemud", "/usr/sbin/virtqemud", true, false},
		{"rpc-virtqemud", libvirts, "systemd", "/usr/lib/systemd/systemd", true, false},
		{"rpc-virtqemud", scope("vm1"), "systemd", "/usr/lib/systemd/systemd", true, false},
		{"rpc-virtqemud", "0::/\n", "systemd", "/usr/lib/systemd/systemd", true, false},
		{"rpc-virtqemud", "0::/\n", "rpc-virtqemud", "/usr/sbin/virtqemud", true, false},
		{"vmferry-guard", "0::/\n", "vmferry-guard", "/usr/sbin/vmferry-guard", false, false},
		{"vmferry-guard", service, "vmferry-guard", "/usr/sbin/vmferry-guard", false, false},
		{"pacemakerd", service, "systemd", "/usr/lib/systemd/systemd", false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newTree(t)
			f.process(20, c.parent, 'S', c.exe)
			f.named(20, c.parent, 1)
			f.program(20, c.exe)
			f.process(30, c.name, 'D')
			f.named(30, c.name, 20)
			f.cgroup(30, c.cgroup)
			f.program(30, "/usr/sbin/virtqemud")
			f.halts(30, "stat")
			f.cgroup(20, "0::/system.slice/docker-1.scope\n") // the parent itself is none
			isPacemakers := func(program string) bool { return strings.HasPrefix(program, "pacemaker") }
			if _, err := f.host.HasDaemon(t.Context(), isPacemakers, 0); errors.Is(err, ErrIncomplete) != c.pacemakers {
				t.Errorf("of Pacemaker's: %v", err)
			}
			if _, err := f.host.Daemons(t.Context(), "virtqemud"); errors.Is(err, ErrIncomplete) != c.daemons {
				t.Errorf("of libvirt's: %v", err)
			}
		})
	}
}

// A question about a process that does not return is left behind, and is not put again before it returns.
func TestWithin(t *testing.T) {
	f := newTree(t)
	release := make(chan struct{})
	defer close(release)
	calls := make(chan bool, 10)
	for range 3 {
		if _, err := Within(t.Context(), f.host, "test", 1, func() (int, error) {
			calls <- true
			<-release
			return 0, nil
		}); !errors.Is(err, errStuck) {
			t.Error(err)
		}
	}
	if len(calls) != 1 {
		t.Errorf("%d calls", len(calls))
	}
	if n, err := Within(t.Context(), f.host, "another", 1, func() (int, error) { return 7, nil }); n != 7 || err != nil {
		t.Error(n, err)
	}
}
