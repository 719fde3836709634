package hostproc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"
)

const uuidB = "11111111-2222-3333-4444-555555555555"

// tree is a proc file system and a libvirt state directory made of plain files.
type tree struct {
	t    *testing.T
	host Host
}

func newTree(t *testing.T) tree {
	f := tree{t, Host{Proc: t.TempDir(), Run: private(t), Etc: t.TempDir()}}
	f.write(filepath.Join(f.host.Etc, "passwd"),
		"root:x:0:0::/root:/bin/sh\nlibvirt-qemu:x:64055:993::/var/lib/libvirt:/usr/sbin/nologin\n")
	f.process(1, "systemd", 'S', "/sbin/init")
	return f
}

func (f tree) write(path, text string) {
	f.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

// process adds one of root's. Its start time is its number times 100.
func (f tree) process(pid int, comm string, state byte, args ...string) {
	dir := filepath.Join(f.host.Proc, strconv.Itoa(pid))
	raw := []byte{}
	if len(args) > 0 {
		raw = cmdline(args...)
	}
	f.write(filepath.Join(dir, "cmdline"), string(raw))
	f.write(filepath.Join(dir, "stat"), stat(pid, comm, state, 1, uint64(pid)*100))
	f.owned(pid, 0, 0)
}

// owned says as whom a process runs. nested is the number that it has in a PID namespace below.
func (f tree) owned(pid, real, effective int, nested ...int) {
	status := fmt.Sprintf("Name:\tx\nUid:\t%d\t%d\t%d\t%d\nGroups:\t0 \nNSpid:\t%d", real, effective, effective, effective, pid)
	for _, n := range nested {
		status += fmt.Sprintf("\t%d", n)
	}
	f.write(filepath.Join(f.host.Proc, strconv.Itoa(pid), "status"), status+"\n")
}

func stat(pid int, comm string, state byte, parent int, start uint64) string {
	return fmt.Sprintf("%d (%s) %c %d 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 %d 0", pid, comm, state, parent, start)
}

func (f tree) guest(pid int, name, uuid string, more ...string) {
	args := append([]string{"/usr/bin/qemu-system-x86_64", "-name", "guest=" + name, "-uuid", uuid}, more...)
	f.process(pid, "qemu-system-x86", 'S', args...)
}

// run adds a file of libvirt's. It is younger than all processes.
func (f tree) run(name, text string) {
	f.t.Helper()
	path := filepath.Join(f.host.Run, name)
	f.write(path, text)
	if later := time.Now().Add(time.Hour); os.Chtimes(path, later, later) != nil {
		f.t.Fatal("cannot set a file's time")
	}
}

func TestList(t *testing.T) {
	for _, c := range []struct {
		name   string
		build  func(tree)
		want   []Process
		unsure bool
	}{
		{"nothing", func(tree) {}, nil, false},
		{"two guests", func(f tree) { f.guest(7, "a", uuidA); f.guest(8, "b", uuidB) },
			[]Process{{PID: 7, Name: "a", UUID: uuidA, Incoming: false, StartTime: 700},
				{PID: 8, Name: "b", UUID: uuidB, Incoming: false, StartTime: 800}}, false},
		{"kernel thread", func(f tree) { f.process(2, "kthreadd", 'S') }, nil, false},
		{"zombie", func(f tree) { f.process(9, "qemu-system-x86", 'Z') }, nil, false},
		{"exiting QEMU", func(f tree) { f.process(9, "qemu-system-x86", 'D') }, nil, true},
		{"exiting QEMU beside a guest", func(f tree) { f.guest(7, "a", uuidA); f.process(9, "qemu-kvm", 'R') },
			[]Process{{PID: 7, Name: "a", UUID: uuidA, Incoming: false, StartTime: 700}}, true},
		{"incoming", func(f tree) { f.guest(7, "a", uuidA, "-incoming", "defer") },
			[]Process{{PID: 7, Name: "a", UUID: uuidA, Incoming: true, StartTime: 700}}, false},
		{"incoming, resumed", func(f tree) {
			f.guest(7, "a", uuidA, "-incoming", "defer")
			f.run("a.xml", "<!-- generated -->\n<domstatus state='running' reason='migrated' pid='7'><domain/></domstatus>")
		}, []Process{{PID: 7, Name: "a", UUID: uuidA, Incoming: false, StartTime: 700}}, false},
		{"incoming, paused", func(f tree) {
			f.guest(7, "a", uuidA, "-incoming", "defer")
			f.run("a.xml", "<domstatus state='paused' reason='migration' pid='7'/>")
		}, []Process{{PID: 7, Name: "a", UUID: uuidA, Incoming: true, StartTime: 700}}, false},
		{"status of an older process", func(f tree) {
			f.guest(7, "a", uuidA, "-incoming", "defer")
			f.run("a.xml", "<domstatus state='running' pid='6'/>")
		}, []Process{{PID: 7, Name: "a", UUID: uuidA, Incoming: true, StartTime: 700}}, false},
		{"malformed status", func(f tree) {
			f.guest(7, "a", uuidA, "-incoming", "defer")
			f.run("a.xml", "<domstatus state='running' pid='")
		}, []Process{{PID: 7, Name: "a", UUID: uuidA, Incoming: true, StartTime: 700}}, false},
		{"stale pid file", func(f tree) { f.run("a.pid", "4711\n") }, nil, false},
		{"pid file of another program", func(f tree) { f.process(5, "cron", 'S', "cron"); f.run("a.pid", "5") }, nil, false},
		{"pid file of a QEMU nobody recognises", func(f tree) {
			f.process(5, "qemu-odd", 'S', "qemu-odd", "-S")
			f.run("a.pid", "5")
		}, nil, true},
		{"garbage pid file", func(f tree) { f.run("a.pid", "\x00-1x") }, nil, false},
		{"unreadable command line", func(f tree) {
			f.process(6, "qemu", 'S', "qemu")
			path := filepath.Join(f.host.Proc, "6", "cmdline")
			if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o755)); err != nil { // reading a directory fails, for root too
				f.t.Fatal(err)
			}
		}, nil, true},
		{"a QEMU that dumps core", func(f tree) {
			f.guest(7, "a", uuidA)
			f.write(filepath.Join(f.host.Proc, "7", "stat"), stat(7, "qemu-system-x86", 'D', 1, 700))
		}, []Process{{PID: 7, Name: "a", UUID: uuidA, StartTime: 700}}, false},
		{"a stat of another kernel's", func(f tree) {
			f.guest(6, "a", uuidA)
			f.write(filepath.Join(f.host.Proc, "6", "stat"), "6 (a) 7")
		}, nil, true},
		{"unreadable control group", func(f tree) {
			f.guest(6, "a", uuidA)
			f.write(filepath.Join(f.host.Proc, "6", "cgroup", "x"), "")
		}, nil, true},
		{"unreadable owner", func(f tree) {
			f.guest(6, "a", uuidA)
			path := filepath.Join(f.host.Proc, "6", "status")
			if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o755)); err != nil {
				f.t.Fatal(err)
			}
		}, nil, true},
		{"ended while we looked", func(f tree) {
			f.guest(6, "a", uuidA)
			if err := os.Remove(filepath.Join(f.host.Proc, "6", "stat")); err != nil {
				f.t.Fatal(err)
			}
		}, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newTree(t)
			c.build(f)
			got, err := f.host.List(context.Background())
			if !slices.Equal(got, c.want) {
				t.Errorf("List = %+v, want %+v", got, c.want)
			}
			if errors.Is(err, ErrIncomplete) != c.unsure || !c.unsure && err != nil {
				t.Errorf("error %v, want unsure %v", err, c.unsure)
			}
		})
	}
}

func TestListIsUnsureWithoutProc(t *testing.T) {
	for name, host := range map[string]Host{
		"missing":         {Proc: filepath.Join(t.TempDir(), "none")},
		"empty":           {Proc: t.TempDir()},
		"without init":    func() Host { f := tree{t, Host{Proc: t.TempDir()}}; f.process(2, "x", 'S', "x"); return f.host }(),
		"context is over": newTree(t).host,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			if name == "context is over" {
				cancel()
			}
			if _, err := host.List(ctx); !errors.Is(err, ErrIncomplete) {
				t.Errorf("error %v, want ErrIncomplete", err)
			}
		})
	}
}

func TestFind(t *testing.T) {
	f := newTree(t)
	f.guest(7, "a", uuidA)
	f.guest(8, "b", uuidB)
	for _, c := range []struct {
		name, guest, uuid string
		want              []int
	}{
		{"by name", "a", "", []int{7}},
		{"by UUID in capitals", "renamed", "5F1A0B52-9A2B-4D0A-8F5E-3A6B7C8D9E0F", []int{7}},
		{"UUID before name", "a", uuidB, []int{8}},
		{"name where the UUID is another", "a", "99999999-2222-3333-4444-555555555555", []int{7}},
		{"neither", "c", "", nil},
		{"part of a name", "", "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			found, err := f.host.Find(context.Background(), c.guest, c.uuid)
			if err != nil {
				t.Fatal(err)
			}
			var pids []int
			for _, p := range found {
				pids = append(pids, p.PID)
			}
			if !slices.Equal(pids, c.want) {
				t.Errorf("found %v, want %v", pids, c.want)
			}
		})
	}
}
