package witness

import (
	"context"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestParseCgroup(t *testing.T) {
	for _, c := range []struct{ name, raw, want string }{
		{"unified", "0::/machine.slice/machine-qemu\\x2d3\\x2dvm1.scope/libvirt/emulator\n", "vm1"},
		{"legacy", "4:memory:/machine.slice/machine-qemu\\x2d3\\x2dvm1.scope\n1:name=systemd:/x\n", "vm1"},
		{"dashes in the name", "0::/machine.slice/machine-qemu\\x2d12\\x2dweb\\x2dserver.scope/libvirt\n", "web-server"},
		{"dots in the name", "0::/machine.slice/machine-qemu\\x2d12\\x2dweb.example.scope\n", "web.example"},
		{"libvirt's own", "0::/system.slice/libvirtd.service\n", ""},
		{"another driver", "0::/machine.slice/machine-lxc\\x2d3\\x2dvm1.scope\n", ""},
		{"no number", "0::/machine.slice/machine-qemu\\x2dvm1.scope\n", ""},
		{"broken escape", "0::/machine.slice/machine-qemu\\x2d1\\x2dv\\xZZ.scope\n", "v\\xZZ"},
		{"without systemd", "0::/machine/qemu-3-vm-1.libvirt-qemu/emulator\n", "vm-1"},
		{"another driver without systemd", "0::/machine/lxc-3-vm1.libvirt-lxc\n", ""},
		{"a name with the driver's in it", "0::/machine.slice/machine-qemu\\x2d3\\x2dqemu\\x2d4.scope\n", "qemu-4"},
		{"empty", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := parseCgroup([]byte(c.raw)); got != c.want {
				t.Errorf("parseCgroup = %q, want %q", got, c.want)
			}
		})
	}
}

func TestOfAnotherUnit(t *testing.T) {
	for path, want := range map[string]bool{
		"/system.slice/cron.service":                                        true,
		"/system.slice/system-getty.slice/getty@tty1.service":               true,
		"/system.slice/docker-0123.scope":                                   true,
		"/machine.slice/machine-lxc\\x2d3\\x2dvm1.scope":                    true,
		"/system.slice/libvirtd.service":                                    false,
		"/system.slice/virtqemud.service/x":                                 false,
		"/user.slice/user-1000.slice/user@1000.service/app.slice/x.service": false,
		"/user.slice/user-0.slice/session-3.scope":                          false,
		"/":         false,
		"/kubepods": false,
	} {
		if got := ofAnotherUnit([]byte("0::"+path+"\n"), false); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
	if ofAnotherUnit(nil, true) {
		t.Error("one that cannot be read is known")
	}
}

func FuzzParseCgroup(f *testing.F) {
	f.Add([]byte("0::/machine.slice/machine-qemu\\x2d3\\x2dvm1.scope/libvirt/emulator\n"))
	f.Add([]byte("\\x\\x2"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if name := parseCgroup(raw); strings.ContainsAny(name, "\n") {
			t.Errorf("parseCgroup(%q) = %q", raw, name)
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
