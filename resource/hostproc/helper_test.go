package hostproc

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
)

var carrier = Helper{
	Program: "carry-helper",
	Parents: []string{"libvirtd", "virtxend"},
	Suits:   func(args []string) bool { return slices.Contains(args, "7") },
}

// helper adds a process that a process of number parent has started.
func (f tree) helper(pid, parent int, exe string, args ...string) {
	f.process(pid, "carry-helper", 'S', args...)
	dir := filepath.Join(f.host.Proc, strconv.Itoa(pid))
	f.write(filepath.Join(dir, "stat"), stat(pid, "carry-helper", 'S', parent, uint64(pid)*100))
	if err := os.Symlink(exe, filepath.Join(dir, "exe")); err != nil {
		f.t.Fatal(err)
	}
}

func TestHelpers(t *testing.T) {
	const exe = "/usr/lib/x/carry-helper"
	for _, c := range []struct {
		name   string
		build  func(tree)
		want   []int
		unsure bool
	}{
		{"none", func(tree) {}, nil, false},
		{"one", func(f tree) { f.helper(50, 40, exe, exe, "7") }, []int{50}, false},
		{"two", func(f tree) { f.helper(50, 40, exe, exe, "7"); f.helper(51, 41, exe, exe, "7") }, []int{50, 51}, false},
		{"replaced on disk", func(f tree) { f.helper(50, 40, exe+" (deleted)", exe, "7") }, []int{50}, false},
		{"for another guest", func(f tree) { f.helper(50, 40, exe, exe, "8") }, nil, false},
		{"of somebody else", func(f tree) { f.helper(50, 1, exe, exe, "7") }, nil, false},
		{"its parent is gone", func(f tree) { f.helper(50, 49, exe, exe, "7") }, nil, false},
		{"another program that says so", func(f tree) { f.helper(50, 40, "/usr/bin/bash", exe, "7") }, nil, false},
		{"not yet executed", func(f tree) { f.helper(50, 40, "/usr/sbin/libvirtd", "/usr/sbin/libvirtd") }, nil, false},
		{"ended", func(f tree) {
			f.helper(50, 40, exe, exe, "7")
			f.write(filepath.Join(f.host.Proc, "50", "stat"), stat(50, "carry-helper", 'Z', 40, 5000))
		}, nil, false},
		{"hidden", func(f tree) { _ = os.RemoveAll(filepath.Join(f.host.Proc, "1")) }, nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newTree(t)
			f.process(40, "libvirtd", 'S', "/usr/sbin/libvirtd")
			f.process(41, "virtxend", 'S', "/usr/sbin/virtxend")
			c.build(f)
			found, err := f.host.Helpers(t.Context(), carrier)
			var pids []int
			for _, p := range found {
				pids = append(pids, p.PID)
				if p.StartTime != uint64(p.PID)*100 {
					t.Errorf("process %d started at %d", p.PID, p.StartTime)
				}
			}
			if !slices.Equal(pids, c.want) || errors.Is(err, ErrIncomplete) != c.unsure {
				t.Errorf("found %v, %v, want %v", pids, err, c.want)
			}
		})
	}
}

func TestHelpersInTime(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := newTree(t).host.Helpers(ctx, carrier); !errors.Is(err, ErrIncomplete) || !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of the time: %v", err)
	}
}

// A process is sent SIGTERM once and not waited for, and another one that got its number is not.
func TestTerminate(t *testing.T) {
	cmd, h := startGuest(t, "polite", "witness-test-terminate")
	p := findOne(t, h, "witness-test-terminate")
	other := p
	other.StartTime++
	if err := (Host{}).Terminate(other); err != nil {
		t.Error(err)
	}
	if now, err := (Host{}).stat(p.PID); err != nil || now.start != p.StartTime || now.dead() {
		t.Errorf("the process that got the number was sent something: %+v, %v", now, err)
	}
	if err := (Host{}).Terminate(p); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait()
	if s, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || s.Signal() != syscall.SIGTERM {
		t.Errorf("ended by %v", cmd.ProcessState)
	}
	if err := (Host{}).Terminate(p); err != nil {
		t.Errorf("one that has ended: %v", err)
	}
}
