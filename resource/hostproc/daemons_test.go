package hostproc

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestDaemons(t *testing.T) {
	f := newTree(t)
	executes := func(pid int, comm, file string) {
		f.process(pid, comm, 'S', file)
		f.program(pid, file)
	}
	executes(40, "libvirtd", "/usr/sbin/libvirtd")
	executes(41, "rpc-libvirtd", "/usr/sbin/libvirtd (deleted)") // its child, before an upgrade
	executes(42, "rpc-libvirtd", "/usr/sbin/libvirtd")
	f.owned(42, 64055, 64055) // about to execute QEMU
	executes(43, "libvirtd", "/usr/bin/bash")
	executes(44, "libvirtd", "/usr/sbin/libvirtd")
	f.owned(44, 1000, 1000) // a user's session
	executes(45, "qemu-system-x86", "/usr/bin/qemu-system-x86_64")
	executes(46, "virtlogd", "/usr/sbin/virtlogd")
	executes(47, "libvirtd", "/usr/sbin/libvirtd")
	f.owned(47, 0, 0, 5) // in a container
	found, err := f.host.Daemons(t.Context(), "libvirtd", "virtqemud")
	var pids []int
	for _, p := range found {
		pids = append(pids, p.PID)
		if p.Name != "libvirtd" || p.StartTime != uint64(p.PID)*100 {
			t.Errorf("%+v", p)
		}
	}
	if err != nil || !slices.Equal(pids, []int{40, 41, 42}) {
		t.Errorf("%v, %v", pids, err)
	}
	_ = os.RemoveAll(filepath.Join(f.host.Proc, "1"))
	if _, err := f.host.Daemons(t.Context(), "libvirtd"); !errors.Is(err, ErrIncomplete) {
		t.Errorf("where processes are hidden: %v", err)
	}
}
