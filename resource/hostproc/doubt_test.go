package hostproc

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// scope is the control group of a guest, as systemd-machined makes it.
func scope(guest string) string {
	return "0::/machine.slice/machine-qemu\\x2d1\\x2d" + guest + ".scope/libvirt/emulator\n"
}

func (f tree) cgroup(pid int, text string) {
	f.write(filepath.Join(f.host.Proc, strconv.Itoa(pid), "cgroup"), text)
}

const qemu = "/usr/bin/qemu-system-x86_64"

// program says which file a process executes.
func (f tree) program(pid int, file string) {
	f.t.Helper()
	if err := os.Symlink(file, filepath.Join(f.host.Proc, strconv.Itoa(pid), "exe")); err != nil {
		f.t.Fatal(err)
	}
}

// blocked adds a process whose command line cannot be read before the test ends.
func (f tree) blocked(pid int, comm, cgroup string) {
	f.t.Helper()
	f.process(pid, comm, 'D')
	f.cgroup(pid, cgroup)
	path := filepath.Join(f.host.Proc, strconv.Itoa(pid), "cmdline")
	if err := errors.Join(os.Remove(path), unix.Mkfifo(path, 0o600)); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { // lets readers go
		// Who waits to open it is woken by another end, and whoever comes later finds nothing.
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK, 0)
		if err = errors.Join(err, os.Remove(path)); err != nil {
			f.t.Error(err)
			return
		}
		commandLines.mu.Lock()
		under := commandLines.under[readingOf{path, uint64(pid) * 100}]
		commandLines.mu.Unlock()
		_ = unix.Close(fd)
		if under != nil {
			<-under.done
		}
	})
}

// What is not understood of one guest hides no other. The names are those of real programs, the files those that
// libvirt 11 makes.
func TestDoubtsOfOthers(t *testing.T) {
	var all sync.WaitGroup
	const service = "0::/system.slice/libvirtd.service\n"
	for _, c := range []struct {
		name  string
		build func(f tree)
		ours  bool // whether vm1 runs cannot be told
		any   bool // nor whether any guest does that is not listed
	}{
		{"a pr-helper with its pid file", func(f tree) {
			f.process(30, "qemu-pr-helper", 'S', "/usr/bin/qemu-pr-helper", "-k",
				"/var/lib/libvirt/qemu/domain-1-vm2/pr-helper0.sock")
			f.run("1-vm2-pr-helper0.pid", "30\n")
		}, false, false},
		{"one that exits", func(f tree) { f.process(30, "qemu-pr-helper", 'S'); f.cgroup(30, scope("vm1")) }, false, false},
		{"one that is blocked", func(f tree) { f.blocked(30, "qemu-pr-helper", scope("vm1")) }, false, false},
		{"a storage daemon, whose name is cut", func(f tree) { f.process(30, "qemu-storage-da", 'D') }, false, false},
		{"swtpm", func(f tree) {
			f.process(30, "swtpm", 'S', "/usr/bin/swtpm", "socket", "--ctrl", "type=unixio")
			f.run("swtpm.pid", "30\n")
		}, false, false},
		{"virtiofsd", func(f tree) {
			f.process(30, "virtiofsd", 'S', "/usr/libexec/virtiofsd", "--fd=3")
			f.run("1-vm1-fs0-fs.pid", "30\n")
		}, false, false},
		{"helpers of all kinds that are blocked", func(f tree) {
			for i, comm := range []string{"qemu-bridge-hel", "qemu-vmsr-helpe", "qemu-nbd", "qemu-img", "qemu-ga",
				"qemu-rdp", "virt-ssh-helper"} {
				f.blocked(30+i, comm, service)
			}
		}, false, false},
		{"libvirt's daemon", func(f tree) {
			f.process(30, "libvirtd", 'S', "/usr/sbin/libvirtd")
			f.run("driver.pid",
				"30")
		}, false, false},
		{"another guest's QEMU that is blocked", func(f tree) { f.blocked(30, "qemu-system-x86", scope("vm2")) }, false, true},
		{"our QEMU that is blocked", func(f tree) { f.blocked(30, "qemu-system-x86", scope("vm1")) }, true, true},
		{"another guest's, without a control group",
			func(f tree) { f.blocked(30, "qemu-system-x86", service); f.run("vm2.pid", "30") }, false, true},
		{"ours, without a control group",
			func(f tree) { f.blocked(30, "qemu-system-x86", service); f.run("vm1.pid", "30") }, true, true},
		{"a QEMU of which nothing is known", func(f tree) { f.blocked(30, "qemu-system-x86", service) }, true, true},
		{"a wrapper in libvirt's service", func(f tree) { f.blocked(30, "emulate", service) }, true, true},
		{"a wrapper in another guest's control group", func(f tree) { f.blocked(30, "emulate", scope("vm2")) }, false, true},
		{"a wrapper that a pid file names", func(f tree) { f.blocked(30, "emulate", "0::/\n"); f.run("vm2.pid", "30") },
			false, true},
		{"a database that is blocked",
			func(f tree) { f.blocked(30, "postgres", "0::/system.slice/postgresql.service\n") }, false, false},
		{"a QEMU without a name, in another guest's pid file", func(f tree) {
			f.process(30, "qemu-system-x86", 'S', "qemu-system-x86_64", "-S")
			f.run("vm2.pid", "30")
		}, false, true},
		{"another guest's that exits, without a control group",
			func(f tree) { f.process(30, "qemu-system-x86", 'D'); f.run("vm2.pid", "30") }, false, true},
		{"one that exits of which two files tell", func(f tree) {
			f.process(30, "qemu-system-x86", 'D')
			f.run("vm1.pid", "30")
			f.run("vm2.pid", "30")
		}, true, true},
	} {
		f := newTree(t)
		c.build(f)
		all.Go(func() { // a scan that meets a blocked process waits: all at once
			found, err := f.host.Find(context.Background(), "vm1", uuidA)
			if len(found) != 0 || errors.Is(err, ErrIncomplete) != c.ours {
				t.Errorf("%s: found %v, %v; want doubt: %v", c.name, found, err, c.ours)
			}
			if _, err := f.host.List(context.Background()); errors.Is(err, ErrIncomplete) != c.any {
				t.Errorf("%s: a listing of all: %v; want doubt: %v", c.name, err, c.any)
			}
		})
	}
	all.Wait()
}

// A QEMU whose command line cannot be read is known where libvirt's files and its control group say the same; so it can be
// ended. Other guests are found as ever.
func TestBlockedGuest(t *testing.T) {
	var all sync.WaitGroup
	const running = "<domstatus state='running' reason='booted' pid='30'/>"
	for _, c := range []struct {
		name, cgroup, pid, status string
		known                     bool
	}{
		{"all agree", scope("vm1"), "30", running, true},
		{"no control group", "0::/\n", "30", running, false},
		{"another guest's control group", scope("vm2"), "30", running, false},
		{"an old pid file", scope("vm1"), "31", running, false},
		{"an old status", scope("vm1"), "30", "<domstatus state='running' pid='29'/>", false},
		{"arriving", scope("vm1"), "30", "<domstatus state='paused' reason='migration' pid='30'/>", false},
	} {
		f := newTree(t)
		f.blocked(30, "qemu-system-x86", c.cgroup)
		f.run("vm1.pid", c.pid)
		f.run("vm1.xml", c.status)
		f.guest(40, "vm3", uuidB)
		all.Go(func() {
			found, err := f.host.Find(context.Background(), "vm1", uuidA)
			if (len(found) == 1) != c.known || c.known && (err != nil || found[0].PID != 30 || found[0].Incoming) {
				t.Errorf("%s: found %+v, %v; want known: %v", c.name, found, err, c.known)
			}
			other, err := f.host.Find(context.Background(), "vm3", uuidB)
			if len(other) != 1 || c.cgroup != "0::/\n" && err != nil {
				t.Errorf("%s: found %+v of another guest, %v", c.name, other, err)
			}
		})
	}
	all.Wait()
}

// However often a process is looked at that hangs, one goroutine waits for it.
func TestBlockedReadsDoNotPileUp(t *testing.T) {
	f := newTree(t)
	f.blocked(30, "qemu-system-x86", scope("vm2"))
	begun := f.host.beginRead(30, procStat{start: 3000})
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	for range 100 {
		if again := f.host.beginRead(30, procStat{start: 3000}); again != begun {
			t.Fatal("another reading was begun")
		}
		if _, err := f.host.List(ctx); !errors.Is(err, ErrIncomplete) {
			t.Fatalf("a listing in no time: %v", err)
		}
	}
	if other := f.host.beginRead(1, procStat{start: 100}); other == begun {
		t.Error("two processes share a reading")
	}
	if _, err := (&waiter{time.Now()}).await(ctx, begun); !errors.Is(err, errBlocked) {
		t.Errorf("the blocked one: %v", err)
	}
}

// The end of the caller's time proves nothing of what was not read.
func TestNoTimeIsNoProof(t *testing.T) {
	f := newTree(t)
	f.blocked(30, "postgres", "0::/system.slice/libvirtd.service\n")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := f.host.Find(ctx, "vm1", uuidA); !errors.Is(err, ErrIncomplete) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

// What comes late is waited for while others come; what does not come, together.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		var slow []*reading
		for i := range 5 {
			r := &reading{done: make(chan struct{})}
			slow = append(slow, r)
			time.AfterFunc(time.Duration(i+1)*900*time.Millisecond, func() { r.ended = time.Now(); close(r.done) })
		}
		never := &reading{done: make(chan struct{})}
		w := waiter{begun}
		for i, r := range slow {
			if _, err := w.await(t.Context(), r); err != nil {
				t.Errorf("reading %d: %v", i, err)
			}
		}
		for range 10 {
			if _, err := w.await(t.Context(), never); !errors.Is(err, errBlocked) {
				t.Errorf("one that does not come: %v", err)
			}
			if _, err := w.await(t.Context(), slow[0]); err != nil {
				t.Errorf("one that came before: %v", err)
			}
		}
		if took := time.Since(begun); took != 5*900*time.Millisecond+patience {
			t.Errorf("took %v", took)
		}
	})
}

func TestHelperThatIsBlocked(t *testing.T) {
	f := newTree(t)
	f.process(40, "libvirtd", 'S', "/usr/sbin/libvirtd")
	f.blocked(50, "carry-helper", "0::/\n")
	dir := filepath.Join(f.host.Proc, "50")
	f.write(filepath.Join(dir, "stat"), stat(50, "carry-helper", 'D', 40, 5000))
	if err := os.Symlink("/usr/lib/x/carry-helper", filepath.Join(dir, "exe")); err != nil {
		t.Fatal(err)
	}
	if found, err := f.host.Helpers(t.Context(), carrier); len(found) != 0 || !errors.Is(err, ErrIncomplete) {
		t.Errorf("found %v, %v", found, err)
	}
}

func TestIsHelper(t *testing.T) {
	for _, name := range helpers {
		if !isHelper(name) || isEmulator("/usr/bin/"+name) || !isHelper(name[:min(len(name), commLength)]) {
			t.Errorf("%s is taken for an emulator", name)
		}
	}
	for _, name := range []string{"qemu-system-x86_64", "qemu-system-x86", "qemu-kvm", "kvm", "qemu:vm1", "qemu"} {
		if isHelper(name) || !isEmulator(name) {
			t.Errorf("%s is not taken for an emulator", name)
		}
	}
}

// What hangs in a user's session hides no guest of the system's libvirt, unless a pid file of that names it.
func TestSessionHidesNoSystemGuest(t *testing.T) {
	const session = "0::/user.slice/user-0.slice/session-3.scope\n"
	var all sync.WaitGroup
	for _, c := range []struct {
		name   string
		system bool
		build  func(f tree)
		doubt  bool
	}{
		{"a program", true, func(f tree) { f.blocked(30, "java", session) }, false},
		{"a program, and guests of a session", false, func(f tree) { f.blocked(30, "java", session) }, true},
		{"a wrapper that a pid file names", true,
			func(f tree) { f.blocked(30, "emulate", session); f.run("vm1.pid", "30") }, true},
		{"what calls itself QEMU", true, func(f tree) { f.blocked(30, "qemu-system-x86", session) }, false},
		{"a QEMU that root runs", true, func(f tree) { f.blocked(30, "qemu-system-x86", session); f.program(30, qemu) }, true},
	} {
		f := newTree(t)
		c.build(f)
		f.host.System = c.system
		all.Go(func() {
			if _, err := f.host.Find(context.Background(), "vm1", uuidA); errors.Is(err, ErrIncomplete) != c.doubt {
				t.Errorf("%s: %v; want doubt: %v", c.name, err, c.doubt)
			}
		})
	}
	all.Wait()
}
