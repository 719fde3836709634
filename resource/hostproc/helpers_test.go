package hostproc

import (
	"path/filepath"
	"slices"
	"strconv"
	"testing"
)

const (
	scopeA   = "0::/machine.slice/machine-qemu\\x2d3\\x2dweb.scope/libvirt/emulator\n"
	scopeB   = "0::/machine.slice/machine-qemu\\x2d4\\x2dmail.scope/libvirt/emulator\n"
	libvirts = "0::/system.slice/virtqemud.service\n"
)

// child adds a process of that control group, which parent has started.
func (f tree) child(pid, parent int, comm, group string) {
	f.process(pid, comm, 'S', "/usr/libexec/"+comm, "--fd=30")
	f.write(filepath.Join(f.host.Proc, strconv.Itoa(pid), "stat"), stat(pid, comm, 'S', parent, uint64(pid)*100))
	f.cgroup(pid, group)
}

// virtiofsd forks into a sandbox of its own before libvirt puts the process that it has started into the guest's group.
func TestListAll(t *testing.T) {
	f := newTree(t)
	f.guest(10, "web", uuidA)
	f.cgroup(10, scopeA)
	f.guest(20, "mail", uuidB)
	f.cgroup(20, scopeB)
	f.child(5, 1, "virtqemud", libvirts)
	f.child(8, 5, "virtiofsd", scopeA)
	f.child(9, 8, "virtiofsd", libvirts)
	f.child(12, 9, "virtiofsd", libvirts)
	f.child(21, 1, "swtpm", scopeB)
	f.child(22, 5, "dnsmasq", libvirts)
	f.child(23, 24, "virtiofsd", libvirts) // its parent's number was used again, by a helper
	f.child(24, 1, "virtiofsd", scopeB)
	want := map[int]Process{
		10: {Name: "web", UUID: uuidA}, 20: {Name: "mail", UUID: uuidB},
		8: {Name: "web", UUID: uuidA, Helper: true}, 9: {Name: "web", UUID: uuidA, Helper: true},
		12: {Name: "web", UUID: uuidA, Helper: true}, 21: {Name: "mail", UUID: uuidB, Helper: true},
		24: {Name: "mail", UUID: uuidB, Helper: true},
	}
	all, err := f.host.ListAll(t.Context())
	if err != nil || len(all) != len(want) {
		t.Errorf("%v, %v", all, err)
	}
	for _, p := range all {
		expected := want[p.PID]
		expected.PID, expected.StartTime = p.PID, uint64(p.PID)*100
		if p != expected {
			t.Errorf("%+v, want %+v", p, expected)
		}
	}
	if found, err := f.host.List(t.Context()); err != nil || len(found) != 2 {
		t.Errorf("guests alone: %v, %v", found, err)
	}
}

// A helper outlives its QEMU: the group alone says whose it is. A QEMU that ends is a doubt, and no helper.
func TestHelperWithoutQEMU(t *testing.T) {
	f := newTree(t)
	f.child(8, 1, "virtiofsd", scopeA)
	all, err := f.host.ListAll(t.Context())
	if want := (Process{PID: 8, StartTime: 800, Name: "web", Helper: true}); err != nil || !slices.Equal(all, []Process{want}) {
		t.Errorf("%v, %v", all, err)
	}
	f.process(10, "qemu-system-x86", 'D')
	f.cgroup(10, scopeA)
	if all, err := f.host.ListAll(t.Context()); err == nil || len(all) != 1 {
		t.Errorf("beside a QEMU that ends: %v, %v", all, err)
	}
}

func TestMayBeOf(t *testing.T) {
	for _, c := range []struct {
		p     Process
		guest string
		want  bool
	}{
		{Process{Name: "web"}, "web", true},
		{Process{Name: "web"}, "we_b", false},
		{Process{Name: "web", Helper: true}, "we_b", true}, // libvirt leaves the line out
		{Process{Name: "web", UUID: uuidA, Helper: true}, "we_b", false},
		{Process{Helper: true}, "web", false},
	} {
		if got := c.p.MayBeOf(c.guest); got != c.want {
			t.Errorf("%+v of %q: %v", c.p, c.guest, got)
		}
	}
}
