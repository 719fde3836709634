package lab_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// proc is a process of a node, under the number that it has on this machine.
type proc struct {
	pid  int
	args []string
}

// processes lists those of a node. A process belongs to the node whose host name its root
// directory holds; what comes after a dot in it is not the node's name.
func processes(t *testing.T, node string) []proc {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var found []proc
	for _, dir := range dirs {
		name, err := os.ReadFile(dir + "/root/etc/hostname")
		if short, _, _ := strings.Cut(strings.TrimSpace(string(name)), "."); err != nil || short != node {
			continue // gone meanwhile, or of this machine
		}
		text, err := os.ReadFile(dir + "/cmdline")
		pid, perr := strconv.Atoi(filepath.Base(dir))
		if err != nil || perr != nil || len(text) == 0 {
			continue
		}
		found = append(found, proc{pid, strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")})
	}
	return found
}

// isQEMU reports whether the process runs a guest. A command line may be anybody's; the program is the kernel's word.
func (p proc) isQEMU(guest string) bool {
	i := slices.Index(p.args, "-name")
	if i < 1 || i+1 >= len(p.args) || !strings.HasPrefix(p.args[i+1], "guest="+guest+",") {
		return false
	}
	program, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(p.pid), "exe"))
	return err == nil && strings.HasPrefix(filepath.Base(program), "qemu-system-")
}

func (p proc) isLibvirtd() bool { return filepath.Base(p.args[0]) == "libvirtd" }

// find lists the node's processes that a test may harm.
func find(t *testing.T, node string, is func(proc) bool) []proc {
	t.Helper()
	return slices.DeleteFunc(processes(t, node), func(p proc) bool { return !is(p) })
}

func qemuOf(guest string) func(proc) bool { return func(p proc) bool { return p.isQEMU(guest) } }

// send sends a signal to each of the processes. One that has ended is none.
func send(t *testing.T, sig syscall.Signal, victims []proc) {
	t.Helper()
	for _, p := range victims {
		if err := syscall.Kill(p.pid, sig); err != nil && err != syscall.ESRCH {
			t.Fatalf("send %v to process %d %q: %v", sig, p.pid, p.args, err)
		}
	}
}

// hasVariable reports whether a process was started with NAME=VALUE in its environment.
func (p proc) hasVariable(v string) bool {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.pid), "environ"))
	return err == nil && slices.ContainsFunc(bytes.Split(text, []byte{0}), func(have []byte) bool { return string(have) == v })
}

// inUnit reports whether a process belongs to a unit of the node's systemd.
func (p proc) inUnit(unit string) bool {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.pid), "cgroup"))
	return err == nil && strings.Contains(string(text), "/"+unit)
}

// state is the letter of proc_pid_stat(5): T for a stopped process.
func (p proc) state() string {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.pid), "stat"))
	_, rest, ok := strings.Cut(string(text), ") ")
	if err != nil || !ok {
		return ""
	}
	return rest[:1]
}

// ancestors lists the processes above one, up to this machine's first.
func (p proc) ancestors() []proc {
	var above []proc
	for pid := p.pid; pid > 1; {
		text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
		_, rest, ok := strings.Cut(string(text), ") ")
		fields := strings.Fields(rest)
		if err != nil || !ok || len(fields) < 2 {
			break
		}
		if pid, err = strconv.Atoi(fields[1]); err != nil || pid <= 1 {
			break
		}
		above = append(above, proc{pid: pid})
	}
	return above
}

// await polls until done, which must come within limit.
func await(t *testing.T, what string, limit time.Duration, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s in vain", limit, what)
		}
	}
}
