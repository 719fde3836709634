package hostproc

import (
	"bytes"
	"context"
	"encoding/binary"
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

const (
	qemuUser = 64055
	session  = "0::/user.slice/user-1000.slice/session-2.scope\n"
	cron     = "0::/system.slice/cron.service\n"
	docker   = "0::/system.slice/docker-0123.scope\n"
	libvirtd = "0::/system.slice/libvirtd.service\n"
	ownScope = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/machine-qemu\\x2d3\\x2dvm1.scope\n"
)

// suspect is a process of which it is to be told whether it is libvirt's.
type suspect struct {
	name            string
	real, effective int
	nested          bool
	cgroup          string
	exe             string // the file that it executes, where that can be told
	setuid          bool   // that file is set-user-ID
	filed           bool   // libvirt's pid file names it
	system, session bool   // it counts for the guests of the system's libvirt, and of a session of user 1000's
}

// A process is libvirt's by its control group, by libvirt's pid file, or by its user where no container and no set-user-ID
// program can be behind that.
var suspects = []suspect{
	{name: "in its machine's scope", real: qemuUser, effective: qemuUser, cgroup: scope("vm1"), system: true, session: true},
	{name: "in its machine's scope, of a user of the guest's own", real: 1234, effective: 1234, cgroup: scope("vm1"),
		system: true, session: true},
	{name: "without systemd, of a user of the guest's own", real: 1234, effective: 1234,
		cgroup: "5:cpu:/machine/qemu-3-vm1.libvirt-qemu\n1:name=systemd:/\n", system: true, session: true},
	{name: "in a pid file, of a user of the guest's own", real: 1234, effective: 1234, cgroup: "0::/\n", filed: true,
		system: true, session: true},
	{name: "in libvirt's service, of QEMU's user", real: qemuUser, effective: qemuUser, cgroup: libvirtd, system: true,
		session: true},
	{name: "in libvirt's service, of root", cgroup: libvirtd, system: true, session: true},
	{name: "no control groups, of root", system: true, session: true},
	{name: "no control groups, of QEMU's user", real: qemuUser, effective: qemuUser, system: true, session: true},
	{name: "by an administrator, in a service", cgroup: cron, exe: qemu, system: true, session: true},
	{name: "by an administrator, in a session", cgroup: session, exe: qemu, system: true, session: true},
	{name: "by an administrator, replaced on disk", cgroup: session, exe: qemu + " (deleted)", system: true, session: true},

	{name: "of QEMU's user, in a service", real: qemuUser, effective: qemuUser, cgroup: cron, exe: qemu},
	{name: "of a user, no control groups", real: 1001, effective: 1001, exe: qemu},
	{name: "of a user, in a service", real: 1001, effective: 1001, cgroup: cron, exe: qemu},
	{name: "of a user, in libvirt's service", real: 1001, effective: 1001, cgroup: libvirtd, exe: qemu},
	{name: "of a user, in a session", real: 1000, effective: 1000, cgroup: session, exe: qemu, session: true},
	{name: "of a user whose session's libvirt is a service", real: 1000, effective: 1000, cgroup: cron, exe: qemu, session: true},
	{name: "of a user, in a scope of his own manager's", real: 1000, effective: 1000, cgroup: ownScope, exe: qemu, session: true},
	{name: "of another user, in a scope of his own manager's", real: 1001, effective: 1001, cgroup: ownScope, exe: qemu},
	{name: "by a set-user-ID program, in a session", real: 1000, cgroup: session, exe: "/usr/bin/su", setuid: true},
	{name: "by a set-user-ID program, in a service", real: 1000, cgroup: cron, exe: qemu, setuid: true},
	{name: "by a set-user-ID program, no control groups", real: 1000, exe: "/usr/bin/su", setuid: true},
	{name: "by one that is root altogether, in a session", cgroup: session, exe: "/usr/bin/sudo", setuid: true},
	{name: "by one that is root altogether, called QEMU", cgroup: session, exe: "/tmp/qemu-system-x86_64", setuid: true},
	{name: "by one that is root altogether, in a service", cgroup: cron, exe: "/usr/bin/sudo", setuid: true},
	{name: "by one that is root altogether, no control groups", exe: "/usr/bin/sudo", setuid: true},
	{name: "by one that executed another program as root", cgroup: cron, exe: "/usr/lib/xorg/Xorg"},
	{name: "of root, in a service, that exits", cgroup: cron},
	{name: "of a container's root", cgroup: docker, exe: qemu},
	{name: "of a container's root, in a PID namespace", nested: true, cgroup: docker, exe: qemu},
	{name: "of a container's root, no control groups", nested: true, exe: qemu},
	{name: "of a container's root, in a service", cgroup: "0::/system.slice/web.service/libpod-payload-01\n", exe: qemu},
	{name: "of a pod's root", cgroup: "0::/kubepods.slice/kubepods-pod1.slice/crio-01.scope\n", exe: qemu},
	{name: "of a libvirt in a container",
		cgroup: "0::/system.slice/docker-0123.scope/machine/qemu-3-vm1.libvirt-qemu\n", exe: qemu},
}

// build adds the process with the number 30.
func (s suspect) build(f tree, args ...string) {
	f.t.Helper()
	f.process(30, "qemu-system-x86", 'S', args...)
	nested := map[bool][]int{true: {1}}
	f.owned(30, s.real, s.effective, nested[s.nested]...)
	if s.cgroup != "" {
		f.cgroup(30, s.cgroup)
	}
	if s.filed {
		f.run("vm1.pid", "30\n")
	}
	if s.exe != "" {
		f.program(30, s.exe)
		secure := map[bool]uint64{true: 1}[s.setuid]
		f.write(filepath.Join(f.host.Proc, "30", "auxv"), string(auxv64(33, 1<<40, 6, 4096, atSecure, secure, 0, 0)))
	}
}

// auxv64 is an auxiliary vector of a program of 64 bits.
func auxv64(entries ...uint64) (raw []byte) {
	for _, n := range entries {
		raw = binary.NativeEndian.AppendUint64(raw, n)
	}
	return raw
}

func TestHasGained(t *testing.T) {
	auxv32 := func(entries ...uint32) (raw []byte) {
		for _, n := range entries {
			raw = binary.NativeEndian.AppendUint32(raw, n)
		}
		return raw
	}
	if hasGained(auxv64(atUID, qemuUser, atSecure, 1), qemuUser) || !hasGained(auxv64(atUID, 1000, atSecure, 1), qemuUser) {
		t.Error("QEMU's user, whom libvirt turned to before it executed QEMU")
	}
	for _, c := range []struct {
		name string
		raw  []byte
		want bool
	}{
		{"64 bits", auxv64(33, 1<<40, atSecure, 1, 0, 0), true},
		{"64 bits, no rights gained", auxv64(33, 1<<40, atSecure, 0, 17, 1), false},
		{"64 bits, the first", auxv64(atSecure, 1), true},
		{"32 bits", auxv32(32, 1<<30, atSecure, 1, 0, 0), true},
		{"32 bits, no rights gained", auxv32(32, 1<<30, atSecure, 0, 0, 0), false},
		{"by a user", auxv64(atUID, 1000, atSecure, 1), true},
		{"by root, in another domain of SELinux's", auxv64(atUID, 0, 12, 0, atSecure, 1), false},
		{"cut short", auxv64(33, 1<<40, atSecure), false},
		{"empty", nil, false},
		{"short", []byte{23}, false},
	} {
		if got := hasGained(c.raw, 0); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
}

func FuzzHasGained(f *testing.F) {
	f.Add(auxv64(33, 1<<40, atSecure, 1, 0, 0))
	f.Add([]byte("\x17"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if hasGained(raw, 0) && !bytes.Contains(raw, binary.NativeEndian.AppendUint32(nil, atSecure)) {
			t.Errorf("hasGained(%x)", raw)
		}
	})
}

// headless is the stat of a process whose first thread has ended and another has not.
var headless = strings.Replace(stat(30, "qemu-system-x86", 'Z', 1, 3000), " 1 0 3000 ", " 2 0 3000 ", 1)

// Whose a process is decides whether its command line, or that it has none, means anything.
func TestWhose(t *testing.T) {
	for _, c := range suspects {
		for _, system := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, system %t", c.name, system), func(t *testing.T) {
				want := c.session
				if system {
					want = c.system
				}
				f := newTree(t)
				f.host.System, f.host.Users = system, []int{1000}
				c.build(f, "qemu-system-x86_64", "-name", "guest=vm1", "-uuid", uuidA)
				found, err := f.host.Find(t.Context(), "vm1", uuidA)
				if (len(found) == 1) != want || err != nil {
					t.Errorf("with a guest's command line: found %v, %v, want one: %v", found, err, want)
				}
				f.write(filepath.Join(f.host.Proc, "30", "cmdline"), "")
				f.write(filepath.Join(f.host.Proc, "30", "stat"), headless)
				if _, err := f.host.Find(t.Context(), "vm1", uuidA); errors.Is(err, ErrIncomplete) != want {
					t.Errorf("without one: %v, want doubt: %v", err, want)
				}
			})
		}
	}
}

// What is not libvirt's is never waited for, however many there are: its command line is not opened.
func TestOthersAreNotRead(t *testing.T) {
	f := newTree(t)
	f.host.System = true
	for pid := 100; pid < 400; pid++ {
		f.process(pid, "qemu-system-x86", 'D')
		f.owned(pid, 1000, 1000)
		f.cgroup(pid, session)
		path := filepath.Join(f.host.Proc, strconv.Itoa(pid), "cmdline")
		if err := errors.Join(os.Remove(path), unix.Mkfifo(path, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	f.guest(40, "vm1", uuidA)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if found, err := f.host.Find(ctx, "vm1", uuidA); len(found) != 1 || err != nil {
		t.Errorf("found %v, %v", found, err)
	}
	commandLines.mu.Lock()
	defer commandLines.mu.Unlock()
	for of := range commandLines.under {
		if strings.HasPrefix(of.file, f.host.Proc) {
			t.Errorf("%s is being read", of.file)
		}
	}
}

// A command line without end costs no more memory than a long one.
func TestLongCommandLine(t *testing.T) {
	f := newTree(t)
	f.guest(30, "vm1", uuidA)
	file, err := os.OpenFile(filepath.Join(f.host.Proc, "30", "cmdline"), os.O_WRONLY|os.O_APPEND, 0)
	if err = errors.Join(err, file.Truncate(1<<40), file.Close()); err != nil {
		t.Skip(err) // a file system that has no such files
	}
	found, err := f.host.Find(t.Context(), "vm1", uuidA)
	for try := 0; errors.Is(err, errBlocked) && try < 30; try++ { // a busy machine takes longer than the patience with one
		found, err = f.host.Find(t.Context(), "vm1", uuidA)
	}
	if len(found) != 1 || err != nil {
		t.Errorf("found %v, %v", found, err)
	}
}

// Whoever breaks out of a guest into its QEMU can claim another's name and UUID, but not change what libvirt noted. The guest
// that he left is not taken for stopped.
func TestDisguise(t *testing.T) {
	const status = "<domstatus state='running' pid='30'><vcpus/><domain type='kvm'><name>vm1</name><uuid>" + uuidA +
		"</uuid></domain></domstatus>"
	for _, c := range []struct {
		name  string
		build func(f tree)
		other int  // how many are found of the guest that it claims to be
		doubt bool // about the guest whose it is
		found int  // of that guest
	}{
		{"another name, in the guest's control group",
			func(f tree) { f.guest(30, "vm2", uuidB); f.cgroup(30, scope("vm1")) }, 0, true, 0},
		{"another name, in the guest's pid file", func(f tree) { f.guest(30, "vm2", uuidB); f.run("vm1.pid", "30") }, 0, true, 0},
		{"another UUID", func(f tree) {
			f.guest(30, "vm1", uuidB)
			f.cgroup(30, scope("vm1"))
			f.run("vm1.xml",
				status)
		}, 0, false, 1},
		{"another UUID, and an old note", func(f tree) {
			f.guest(30, "vm1", uuidB)
			f.run("vm1.xml", strings.Replace(status, "30", "29", 1))
		}, 1, false, 1},
		{"another UUID, and no note", func(f tree) { f.guest(30, "vm1", uuidB) }, 1, false, 1},
		{"another UUID, as noted, since it was renamed", func(f tree) {
			f.guest(30, "vm1", uuidB)
			f.run("vm1.xml", strings.Replace(status, uuidA, uuidB, 1))
		}, 1, false, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newTree(t)
			c.build(f)
			if found, err := f.host.Find(t.Context(), "vm2", uuidB); len(found) != c.other || err != nil {
				t.Errorf("found %v, %v of the guest that it claims to be, want %d", found, err, c.other)
			}
			found, err := f.host.Find(t.Context(), "vm1", uuidA)
			if len(found) != c.found || errors.Is(err, errDisguised) != c.doubt {
				t.Errorf("found %v, %v of its own guest, want %d", found, err, c.found)
			}
		})
	}
}

// What a reading that fails says holds nothing that the process's user chose.
func TestReasonsAreOurs(t *testing.T) {
	for _, raw := range []string{"30 (\x1b[2J", "30 (\x1b[2J) S 1",
		"30 (x) \x1b[2J 6 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 12345 0"} {
		if _, err := parseStat([]byte(raw)); err == nil || strings.Contains(err.Error(), "[2J") {
			t.Errorf("%q: %v", raw, err)
		}
	}
}

func TestQEMUUsers(t *testing.T) {
	const passwd = "root:x:0:0::/:/bin/sh\nqemu:x:107:107::/:/sbin/nologin\nalice:x:1000:1000::/home/alice:/bin/sh\nbroken:x\n7:x:70:70::/:/bin/sh\n"
	for config, want := range map[string]string{
		"":                          "[0 107]",
		"#user = \"alice\"\n":       "[0 107]",
		"user = \"alice\"\n":        "[0 1000]",
		"  user=alice # hers\n":     "[0 1000]",
		"user = \"+7\"\n":           "[0 7]",
		"user = \"7\"\n":            "[0 70]",
		"user = \"8\"\n":            "[0 8]",
		"user = \"root\"\n":         "[0 0]",
		"user = \"bob\"\n":          "[0]",
		"user = \"broken\"\n":       "[0]",
		"user = \"+-1\"\n":          "[0]",
		"super_user = \"alice\"\n":  "[0 107]",
		"user = \"+99999999999\"\n": "[0]",
	} {
		f := newTree(t)
		f.write(filepath.Join(f.host.Etc, "passwd"), passwd)
		f.write(filepath.Join(f.host.Etc, "libvirt/qemu.conf"), config)
		if got := fmt.Sprint(f.host.qemuUsers()); got != want {
			t.Errorf("%q: %s, want %s", config, got, want)
		}
	}
}

func TestParseOwner(t *testing.T) {
	for raw, want := range map[string]string{
		"Name:\tx\nUid:\t1\t2\t2\t2\nNSpid:\t30\n":                         "{1 2 0 false x 0}",
		"Name:\tx\nPPid:\t7\nUid:\t0\t0\t0\t0\nGroups:\t\nNSpid:\t30\t1\n": "{0 0 0 true x 7}",
		"Uid:\t0\t0\t0\t0\n":                   "{0 0 0 false  0}", // a kernel without PID namespaces
		"Name:\tUid:\\n0\nUid:\t7\t7\t7\t7\n":  "{7 7 0 false Uid:\\n0 0}",
		"Uid:\t0\t0\t0\t0\nGid:\t7\t0\t0\t0\n": "{0 0 7 false  0}",
		"Uid:\t0\t0\t0\t0\nGid:\tx\n":          "error",
		"":                                     "error",
		"Uid:\t0\n":                            "error",
		"Uid:\tx\ty\n":                         "error",
		"Uid:\t-1\t-1\n":                       "error",
	} {
		o, err := parseOwner([]byte(raw))
		if got := fmt.Sprint(o); err == nil && got != want || err != nil && want != "error" {
			t.Errorf("%q: %s, %v, want %s", raw, got, err, want)
		}
	}
	groups := "Groups:\t" + strings.Repeat("1000000000 ", 65536) + "\n"
	if o, err := parseOwner([]byte("Uid:\t0\t0\t0\t0\n" + groups + "NSpid:\t30\t1\n")); err != nil || !o.nested {
		t.Errorf("in many groups: %+v, %v", o, err)
	}
}

func FuzzParseOwner(f *testing.F) {
	f.Add([]byte("Name:\tx\nUid:\t0\t0\t0\t0\nNSpid:\t30\t1\n"))
	f.Add([]byte("Uid:\t\xff"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if o, err := parseOwner(raw); err == nil && (o.real < 0 || o.effective < 0) {
			t.Errorf("parseOwner(%q) = %+v", raw, o)
		}
	})
}

// A QEMU that libvirt notes as a guest's is one, whatever it calls itself; what works beside it is none.
func TestNotedProcessOfAnyName(t *testing.T) {
	for _, c := range []struct {
		comm, file string
		args       []string
		doubt      bool
	}{
		{"kvm-spice", "vm1.pid", nil, true},
		{"x-helper", "vm1.pid", []string{"x"}, true},
		{"x", "vm1.pid", []string{"x"}, true},
		{"virtiofsd", "1-vm1-fs0-fs.pid", []string{"virtiofsd"}, false},
		{"qemu-pr-helper", "1-vm1-pr-helper0.pid", []string{"qemu-pr-helper"}, false},
		{"x", "vm2.pid", []string{"x"}, false},
	} {
		f := newTree(t)
		f.process(30, c.comm, 'S', c.args...)
		f.cgroup(30, scope("vm1"))
		f.run(c.file, "30\n")
		if _, err := f.host.Find(t.Context(), "vm1", uuidA); errors.Is(err, ErrIncomplete) != c.doubt {
			t.Errorf("%s in %s: %v, want doubt: %v", c.comm, c.file, err, c.doubt)
		}
		if _, err := f.host.Find(t.Context(), "vm9", uuidB); err != nil {
			t.Errorf("%s in %s: of another guest: %v", c.comm, c.file, err)
		}
	}
}

// A set-user-ID program that has become root altogether, as sudo that waits for a password, and of which the executed file
// is hidden from the node daemon, is known by the real group, which stays that of who started it.
func TestIsDaemonHidesNoUsersProgram(t *testing.T) {
	for group, want := range map[int]bool{0: true, 1000: false} {
		f := newTree(t)
		f.process(30, "pacemaker-x", 'S', "pacemaker-x")
		f.write(filepath.Join(f.host.Proc, "30", "status"),
			fmt.Sprintf("Name:\tx\nUid:\t0\t0\t0\t0\nGid:\t%d\t0\t%d\t0\nNSpid:\t30\n", group, group))
		f.cgroup(30, "0::/system.slice/cron.service\n")
		got, err := f.host.IsDaemon(t.Context(), 30, func(string) bool { return true }, 0)
		if got != want || err != nil {
			t.Errorf("real group %d: %v, %v", group, got, err)
		}
	}
}
