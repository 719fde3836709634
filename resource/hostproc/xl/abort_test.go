package xl

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/vmferry/vmferry/resource/hostproc"
	"github.com/vmferry/vmferry/resource/hostproc/hostproctest"
)

const (
	helperExe = "/usr/lib/xen-4.20/bin/libxl-save-helper"
	daemonPID = 40
)

// procs is a proc file system of plain files with libvirt's daemon in it.
type procs struct {
	t   *testing.T
	dir string
}

func newProcs(t *testing.T, daemon string) procs {
	p := procs{t, t.TempDir()}
	p.add(1, 0, "systemd", "0", "/sbin/init", "/sbin/init")
	p.add(daemonPID, 1, daemon, "0", "/usr/sbin/"+daemon, "/usr/sbin/"+daemon)
	return p
}

func (p procs) add(pid, parent int, comm, start, exe string, args ...string) {
	p.t.Helper()
	process := hostproctest.Process{PID: pid, Parent: parent, Comm: comm, Start: start, Exe: exe, Cmdline: args}
	if err := process.Write(p.dir); err != nil {
		p.t.Fatal(err)
	}
}

// startCopy starts a real process and shows it as one of libxl's with these arguments. ended tells by which signal it
// ended, after a while by SIGKILL from here.
func (p procs) startCopy(user int, args ...string) (ended func() syscall.Signal) {
	p.t.Helper()
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	ended = func() syscall.Signal {
		_ = cmd.Process.Kill() // which nothing notices that has got its SIGTERM
		_ = cmd.Wait()
		return cmd.ProcessState.Sys().(syscall.WaitStatus).Signal()
	}
	p.t.Cleanup(func() { _ = cmd.Process.Kill() })
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(raw), ") ")
	copier := hostproctest.Process{PID: cmd.Process.Pid, Parent: daemonPID, Comm: "libxl-save-help",
		Start: strings.Fields(rest)[19],
		User:  user, Exe: helperExe, Cmdline: slices.Concat([]string{helperExe}, args)}
	if err := copier.Write(p.dir); err != nil {
		p.t.Fatal(err)
	}
	return ended
}

func TestAbort(t *testing.T) {
	saving := func(domid string) []string { return []string{"--save-domain", "33", "-1", domid, "1", "3", "0"} }
	for _, c := range []struct {
		name, daemon, lines string
		args                []string
		aborted             bool
		text                string
	}{
		{"a migration", "libvirtd", line("vm1", 3, "-b----", uuidA), saving("3"), true, ""},
		{"in its last copy", "virtxend", line("vm1", 3, "---ss-", uuidA), saving("3"), true, ""},
		{"of another guest", "libvirtd", line("vm1", 3, "-b----", uuidA) + line("vm2", 33, "-b----", uuidB),
			saving("33"), false, "none by libvirt is under way here"},
		{"one that arrives", "libvirtd", line("vm1", 3, "--p---", uuidA),
			[]string{"--restore-domain", "33", "-1", "3", "5", "0", "6", "0", "7", "0"}, false, "none by libvirt"},
		{"of xl's own", "xl", line("vm1", 3, "-b----", uuidA), saving("3"), false, "none by libvirt"},
		{"cut short", "libvirtd", line("vm1", 3, "-b----", uuidA), []string{"--save-domain", "3"}, false, "none by libvirt"},
		{"the guest is not here", "libvirtd", "", saving("3"), false, "none by libvirt"},
		{"xl cannot tell", "libvirtd", "?\n", saving("3"), false, hostproc.ErrIncomplete.Error()},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newProcs(t, c.daemon)
			ended := p.startCopy(0, c.args...)
			h := Host{
				Run:   func(context.Context, ...string) (string, error) { return header + dom0 + c.lines, nil },
				Procs: hostproc.Host{Proc: p.dir},
			}
			err := h.Abort(t.Context(), "vm1", uuidA)
			if (err == nil) != c.aborted || err != nil && !strings.Contains(err.Error(), c.text) {
				t.Errorf("said %v", err)
			}
			want := syscall.SIGKILL
			if c.aborted {
				want = syscall.SIGTERM
			}
			if sig := ended(); sig != want {
				t.Errorf("the process ended by %v, want %v", sig, want)
			}
		})
	}
}

// What another user calls by the name of libxl's is neither ended nor taken for a copy, nor is what root runs below a user's
// process that is called like libvirt's daemon.
func TestAbortOfAStrangersCopy(t *testing.T) {
	for name, users := range map[string][2]int{"a user's copy": {0, 1000}, "a user's daemon": {1000, 0}, "both": {1000, 1000}} {
		t.Run(name, func(t *testing.T) {
			p := newProcs(t, "libvirtd")
			if err := (hostproctest.Process{PID: daemonPID, Comm: "libvirtd", User: users[0]}).Write(p.dir); err != nil {
				t.Fatal(err)
			}
			ended := p.startCopy(users[1], "--save-domain", "33", "-1", "3", "1", "3", "0")
			h := Host{
				Run: func(context.Context, ...string) (string, error) {
					return header + dom0 + line("vm1", 3, "-b----", uuidA), nil
				},
				Procs: hostproc.Host{Proc: p.dir},
			}
			if err := h.Abort(t.Context(), "vm1", uuidA); err == nil {
				t.Error("a copy of nobody's was aborted")
			}
			if sig := ended(); sig != syscall.SIGKILL {
				t.Errorf("the process ended by %v", sig)
			}
		})
	}
}
