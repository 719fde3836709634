package hostproc

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestParseCgroup reads the groups of guests. The paths are those that libvirt and systemd make.
func TestParseCgroup(t *testing.T) {
	const unknown = "?" // a guest's, and nobody knows whose
	for _, c := range []struct{ name, raw, want string }{
		{"unified", "0::/machine.slice/machine-qemu\\x2d3\\x2dvm1.scope/libvirt/emulator\n", "vm1"},
		{"legacy", "4:memory:/machine.slice/machine-qemu\\x2d3\\x2dvm1.scope\n1:name=systemd:/x\n", "vm1"},
		{"dashes in the name", "0::/machine.slice/machine-qemu\\x2d12\\x2dweb\\x2dserver.scope/libvirt\n", "web-server"},
		{"dots in the name", "0::/machine.slice/machine-qemu\\x2d12\\x2dweb.example.scope\n", "web.example"},
		{"all processes have ended", "0::/machine.slice/machine-qemu\\x2d3\\x2dvm1.scope (deleted)\n", "vm1"},
		{"libvirt's own", "0::/system.slice/libvirtd.service\n", ""},
		{"another driver", "0::/machine.slice/machine-lxc\\x2d3\\x2dvm1.scope\n", ""},
		{"no number", "0::/machine.slice/machine-qemu\\x2dvm1.scope\n", unknown},
		{"of an embedded driver", "0::/machine.slice/machine-qemu\\x2dembed\\x2d01234567\\x2d3\\x2dvm1.scope\n", unknown},
		{"broken escape", "0::/machine.slice/machine-qemu\\x2d1\\x2dv\\xZZ.scope\n", "v\\xZZ"},
		{"a partition", "0::/machine.slice/machine-gold.slice/machine-qemu\\x2d3\\x2dvm1.scope\n", "vm1"},
		{"a partition of its own", "0::/gold.slice/gold-a.slice/machine-qemu\\x2d3\\x2dvm1.scope\n", "vm1"},
		{"without systemd", "0::/machine/qemu-3-vm-1.libvirt-qemu/emulator\n", "vm-1"},
		{"a partition without systemd", "5:cpu:/machine/gold.partition/qemu-3-vm1.libvirt-qemu\n1:name=systemd:/\n", "vm1"},
		{"a partition of its own without systemd", "5:cpu:/gold.partition/qemu-3-vm1.libvirt-qemu\n", "vm1"},
		{"another driver without systemd", "0::/machine/lxc-3-vm1.libvirt-lxc\n", ""},
		{"a name with the driver's in it", "0::/machine.slice/machine-qemu\\x2d3\\x2dqemu\\x2d4.scope\n", "qemu-4"},
		{"from a namespace of control groups", "0::/../../machine.slice/machine-qemu\\x2d3\\x2dvm1.scope\n", "vm1"},
		{"empty", "", ""},

		{"a user's own manager", "0::/user.slice/user-1000.slice/user@1000.service/app.slice/machine-qemu\\x2d3\\x2dvm1.scope\n", ""},
		{"below a session", "0::/user.slice/user-1000.slice/session-2.scope/machine.slice/machine-qemu\\x2d3\\x2dvm1.scope\n", ""},
		{"below a service", "0::/system.slice/x.service/machine.slice/machine-qemu\\x2d3\\x2dvm1.scope\n", ""},
		{"in Docker", "0::/system.slice/docker-01ab.scope/machine.slice/machine-qemu\\x2d3\\x2dvm1.scope\n", ""},
		{"in Docker without systemd", "0::/docker/01ab/machine/qemu-3-vm1.libvirt-qemu\n", ""},
		{"in LXC", "0::/lxc.payload.a/machine/qemu-3-vm1.libvirt-qemu\n", ""},
		{"in libvirt's LXC", "0::/machine.slice/machine-lxc\\x2d1\\x2da.scope/machine.slice/machine-qemu\\x2d3\\x2dvm1.scope\n", ""},
		{"in Kubernetes", "0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-01ab.scope/machine/qemu-3-vm1.libvirt-qemu\n", ""},
		{"in a user's control groups of old", "3:cpu:/user/alice/0/machine/qemu-3-vm1.libvirt-qemu\n", ""},
		{"below another guest", "0::/machine.slice/machine-qemu\\x2d3\\x2dvm1.scope/machine-qemu\\x2d4\\x2dvm2.scope\n", "vm1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := parseCgroup([]byte(c.raw), "")
			want := group{place: got.place, guest: c.want != "", machine: strings.Trim(c.want, unknown), scope: got.scope}
			if got != want {
				t.Errorf("parseCgroup = %+v, want %+v", got, want)
			}
		})
	}
}

// TestPlaces reads where service and container managers put processes.
func TestPlaces(t *testing.T) {
	for raw, want := range map[string]place{
		"":                                       atRoot,
		"0::/\n":                                 atRoot,
		"0::/machine\n":                          inLibvirt,
		"0::/machine.slice\n":                    inLibvirt,
		"0::/system.slice/libvirtd.service\n":    inLibvirt,
		"0::/system.slice/virtqemud.service/x\n": inLibvirt,
		"0::/openrc.libvirtd\n":                  inLibvirt,
		"0::/init.scope\n":                       inUnit,
		"0::/system.slice/cron.service\n":        inUnit,
		"0::/system.slice/cron.service/.control\n":                                         inUnit,
		"0::/openrc.heartbeat\n":                                                           inUnit,
		"0::/system.slice/system-getty.slice/getty@tty1.service\n":                         inUnit,
		"0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.service\n":           inSession,
		"0::/user.slice/user-1000.slice/user@1000.service/system.slice/libvirtd.service\n": inSession,
		"0::/user.slice/user-0.slice/session-3.scope\n":                                    inSession,
		"0::/user.slice\n":                     inSession,
		"0::/c3\n":                             inSession, // elogind's
		"0::/7\n":                              inSession,
		"0::/user/alice/0\n":                   inSession,
		"0::/system.slice/docker-0123.scope\n": inContainer,
		"0::/system.slice/docker-0123.scope/system.slice/libvirtd.service\n":                 inContainer,
		"0::/system.slice/web.service/libpod-payload-0123\n":                                 inContainer,
		"0::/machine.slice/systemd-nspawn@a.service/payload\n":                               inContainer,
		"0::/machine.slice/libpod-0123.scope\n":                                              inContainer,
		"0::/machine.slice/machine-lxc\\x2d3\\x2dvm1.scope\n":                                inContainer,
		"0::/kubepods.slice/kubepods-besteffort.slice/kubepods-pod1.slice/crio-0123.scope\n": inContainer,
		"0::/kubepods\n":    inContainer,
		"0::/docker/0123\n": inContainer,
		"0::/lxc.payload.a/system.slice/libvirtd.service\n":                                              inContainer,
		"5:memory:/docker/0123\n1:name=systemd:/docker/0123\n0::/\n":                                     inContainer,
		"5:memory:/docker/0123\n4:cpu:/\n":                                                               inContainer,
		"5:memory:/batch/7\n1:name=systemd:/system.slice/cron.service\n":                                 inUnit,
		"5:memory:/machine\n4:name=openrc:/libvirtd\n":                                                   inLibvirt,
		"12:pids:/user.slice/user-1000.slice\n1:name=systemd:/user.slice/user-1000.slice/x\n":            inSession,
		"5:memory:/\n1:name=systemd:/system.slice/libvirtd.service\n0::/system.slice/libvirtd.service\n": inLibvirt,
	} {
		if got := parseCgroup([]byte(raw), ""); got != (group{place: want}) {
			t.Errorf("%q: %+v, want place %d", raw, got, want)
		}
	}
}

// A node that is a container itself sees the groups around it, and its own below them.
func TestGroupsOfANodeInAContainer(t *testing.T) {
	f := newTree(t)
	f.cgroup(1, "1:name=systemd:/lxc/n1/init.scope\n0::/\n")
	for path, want := range map[string]group{
		"/lxc/n1":                               {},
		"/lxc/n1/system.slice/libvirtd.service": {place: inLibvirt},
		"/lxc/n1/machine.slice/machine-qemu\\x2d3\\x2dvm1.scope": {place: inLibvirt, guest: true, machine: "vm1", scope: "qemu-3-vm1"},
		"/lxc/n1/docker/0123":                    {place: inContainer},
		"/lxc/n12/system.slice/libvirtd.service": {place: inContainer},
	} {
		f.cgroup(7, "1:name=systemd:"+path+"\n0::/\n")
		if got, err := f.host.group(7, f.host.base()); got != want || err != nil {
			t.Errorf("%s: %+v, %v, want %+v", path, got, err, want)
		}
	}
}

func FuzzParseCgroup(f *testing.F) {
	f.Add([]byte("0::/machine.slice/machine-qemu\\x2d3\\x2dvm1.scope/libvirt/emulator\n"))
	f.Add([]byte("\\x\\x2"))
	f.Add([]byte("4:cpu:/machine/a.partition/qemu-1-b.libvirt-qemu\n1:name=systemd:/\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		g := parseCgroup(raw, "")
		if strings.ContainsAny(g.machine, "\n") || g.machine != "" && !g.guest || g.guest && g.place != inLibvirt {
			t.Errorf("parseCgroup(%q) = %+v", raw, g)
		}
		for path := range strings.Lines(string(raw)) { // whoever makes groups below a service makes no guest
			below := parseCgroup([]byte("0::/user.slice/user-1.slice/user@1.service/"+path), "")
			if below.guest || below.place != inSession {
				t.Errorf("%q in a user's own manager: %+v", path, below)
			}
		}
	})
}

// A guest's own name must never be taken for another's: then its exiting process would be
// overlooked.
func FuzzMayBe(f *testing.F) {
	f.Add("vm1")
	f.Add("a.b--c_d")
	f.Add(strings.Repeat("long", 30))
	f.Fuzz(func(t *testing.T, guest string) {
		// libvirt's rule in its strictest and its most lenient reading.
		strict := plainName(guest)
		lenient := strings.Map(func(r rune) rune {
			if r == '-' || r == '.' || plainName(string(r)) != "" {
				return r
			}
			return -1
		}, guest)
		for _, machine := range []string{strict, lenient, strict[:min(len(strict), 54)], lenient[:min(len(lenient), 54)]} {
			if !mayBe(machine, guest) {
				t.Errorf("machine %q is not taken for guest %q", machine, guest)
			}
		}
	})
}

func TestExitingProcessOfAnotherGuest(t *testing.T) {
	exit := func(f tree, pid int, cgroup string) {
		f.process(pid, "qemu-system-x86", 'S')
		if cgroup != "" {
			f.write(filepath.Join(f.host.Proc, strconv.Itoa(pid), "cgroup"), cgroup)
		}
	}
	const ours = "0::/machine.slice/machine-qemu\\x2d1\\x2dvm1.scope\n"
	const other = "0::/machine.slice/machine-qemu\\x2d1\\x2dvm2.scope\n"
	for _, c := range []struct {
		name, cgroup string
		sure         bool
	}{{"ours", ours, false}, {"another guest's", other, true}, {"nobody knows whose", "", false}} {
		t.Run(c.name, func(t *testing.T) {
			f := newTree(t)
			exit(f, 40, c.cgroup)
			found, err := f.host.Find(context.Background(), "vm1", uuidA)
			if len(found) != 0 || (err == nil) != c.sure {
				t.Errorf("found %v, %v; want to be sure: %v", found, err, c.sure)
			}
			if _, err := f.host.List(context.Background()); err == nil {
				t.Error("a listing of all guests is sure, and a guest is exiting")
			}
		})
	}
}

// A path that the kernel does not tell is nobody's reason to doubt: any user with a subtree of his own can nest so deep.
func TestGroupThatIsTooLong(t *testing.T) {
	f := newTree(t)
	f.process(30, "x", 'S', "x")
	path := filepath.Join(f.host.Proc, "30", "cgroup")
	if err := os.Symlink(strings.Repeat("a", 300), path); err != nil { // open(2) says ENAMETOOLONG, too
		t.Fatal(err)
	}
	if found, err := f.host.List(t.Context()); len(found) > 0 || err != nil {
		t.Errorf("found %v, %v", found, err)
	}
	f.guest(30, "vm1", uuidA)
	f.run("vm1.pid", "30\n")
	if found, err := f.host.List(t.Context()); len(found) != 1 || err != nil {
		t.Errorf("with a pid file: found %v, %v", found, err)
	}
}

// Version 1 of control groups shows a QEMU that exits at the root: it still has its images open, whoever its user is.
func TestExitingProcessInControlGroupsOfVersion1(t *testing.T) {
	f := newTree(t)
	f.process(30, "qemu-system-x86", 'D')
	f.owned(30, 1234, 1234)
	f.cgroup(30, "5:cpuset:/\n4:cpu,cpuacct:/\n1:name=systemd:/\n")
	f.write(filepath.Join(f.host.Proc, "30", "cpuset"), "/machine.slice/machine-qemu\\x2d3\\x2dvm1.scope/emulator\n")
	if found, err := f.host.Find(t.Context(), "vm1", uuidA); !errors.Is(err, ErrIncomplete) {
		t.Errorf("its guest: found %v, %v", found, err)
	}
	if found, err := f.host.Find(t.Context(), "vm2", uuidB); err != nil {
		t.Errorf("another guest: found %v, %v", found, err)
	}
}
