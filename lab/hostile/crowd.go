package hostile

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// roleVariable is in the environment of a process of the crowd, and says what it does. Its arguments are those of
// somebody else.
const roleVariable = "HOSTILE_LAB_ROLE"

// The roles of a process of the crowd.
const (
	waits    = "waits"
	headless = "headless" // its main thread has exited: it has no command line to be seen, but lives on
)

// Waits is what a process of a crowd that has its main thread has in its environment.
const Waits = roleVariable + "=" + waits

// disguise is what a process of the crowd looks like.
type disguise struct {
	comm string   // its name, as the kernel has it: the first 15 bytes
	args []string // its command line
	role string
}

// victim is a guest that a process is to be taken for.
type victim struct{ name, uuid string }

// parseVictim reads NAME,UUID.
func parseVictim(text string) (victim, error) {
	name, uuid, ok := strings.Cut(text, ",")
	if !ok || name == "" || uuid == "" {
		return victim{}, fmt.Errorf("guest %q is not NAME,UUID", text)
	}
	return victim{name, uuid}, nil
}

// longLine is the size of the longest command line in the crowd, in bytes. One argument may be 128 KiB long
// (execve(2)).
const longLine = 1 << 20

// disguises are all members of a crowd.
func disguises(victims []victim) []disguise {
	const emulator = "qemu-system-x86_64"
	long := []string{emulator}
	for range longLine / (64 << 10) {
		long = append(long, strings.Repeat("-name guest=x ", (64<<10)/14))
	}
	all := []disguise{
		{"qemu-x", []string{"qemu-x"}, headless},
		{emulator, []string{emulator}, headless},
		{emulator, []string{""}, waits},
		{emulator, long, waits},
		{"pacemaker-x", []string{"pacemaker-x"}, waits},
		{"pacemakerd", []string{"/usr/sbin/pacemakerd"}, headless},
		{"libvirtd", []string{"/usr/sbin/libvirtd"}, headless},
		{"heartbeat", []string{"heartbeat: master control process"}, waits},
	}
	for _, v := range victims {
		line := []string{
			"/usr/bin/" + emulator, "-name", "guest=" + v.name + ",debug-threads=on", "-S",
			"-machine", "pc", "-uuid", v.uuid,
		}
		all = append(all, disguise{emulator, line, waits}, disguise{emulator, line, headless},
			disguise{"sleep", line, waits})
	}
	return all
}

// crowd keeps a crowd of processes, in a folder that it may write to:
//
//	crowd --dir DIR [--guest NAME,UUID]… [--cgroup PATH]
//
// A file "ready" in it says that all are there. With --cgroup they are in a control group of that path below the
// program's own, which must be its to change.
func crowd(ctx context.Context, args []string, _ io.Writer, ready func()) error {
	flags := flag.NewFlagSet("crowd", flag.ContinueOnError)
	var guests list
	flags.Var(&guests, "guest", "")
	dir := flags.String("dir", "", "")
	cgroup := flags.String("cgroup", "", "")
	if err := parse(flags, args); err != nil {
		return err
	}
	var victims []victim
	for _, text := range guests {
		v, err := parseVictim(text)
		if err != nil {
			return err
		}
		victims = append(victims, v)
	}
	if *cgroup != "" {
		if err := moveTo(*cgroup); err != nil {
			return err
		}
	}
	// The death of a parent is that of the thread that made the child.
	runtime.LockOSThread()
	var members []*exec.Cmd
	defer func() {
		for _, m := range members {
			_ = m.Process.Kill()
			_ = m.Wait()
		}
	}()
	for _, d := range disguises(victims) {
		m, err := d.start(*dir)
		if err != nil {
			return err
		}
		members = append(members, m)
	}
	if err := awaitRuins(ctx, members); err != nil {
		return err
	}
	if err := create(filepath.Join(*dir, "ready"), nil); err != nil {
		return err
	}
	ready()
	<-ctx.Done()
	return nil
}

// start makes the process. It ends with this one.
func (d disguise) start(dir string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	program := filepath.Join(dir, d.comm)
	if err := os.Symlink(self, program); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	cmd := &exec.Cmd{
		Path: program, Args: d.args, Dir: "/",
		Env:         append(environment("NOTIFY_SOCKET"), roleVariable+"="+d.role),
		SysProcAttr: &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL},
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a process that looks like %s: %w", d.comm, err)
	}
	return cmd, nil
}

// awaitRuins waits until the main threads of those that are to be headless have exited.
func awaitRuins(ctx context.Context, members []*exec.Cmd) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for _, m := range members {
		for m.Env[len(m.Env)-1] == roleVariable+"="+headless {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", m.Process.Pid))
			if err != nil {
				return fmt.Errorf("a process of the crowd is gone: %w", err)
			}
			if isHeadless(string(stat)) {
				break
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-tick.C:
			}
		}
	}
	return nil
}

// isHeadless reads proc_pid_stat(5): the main thread is a zombie.
func isHeadless(stat string) bool {
	return strings.HasPrefix(stat[strings.LastIndexByte(stat, ')')+1:], " Z")
}

// role is this process's in a crowd. It is read while packages are initialised, when the main goroutine is on the main
// thread and nowhere else; one that is to leave that thread behind must stay on it.
var role = func() string {
	r := os.Getenv(roleVariable)
	if r == headless {
		runtime.LockOSThread()
	}
	return r
}()

// Member plays the role of a process of the crowd, and returns false where this process is none.
func Member() bool {
	switch role {
	case "":
		return false
	case headless:
		go rest()
		_, _, _ = unix.Syscall(unix.SYS_EXIT, 0, 0, 0)
	}
	rest()
	return true
}

// rest does nothing for ever, and is no deadlock to the runtime.
func rest() {
	for {
		time.Sleep(time.Hour)
	}
}

// moveTo puts this process, and those that it starts from now on, into a control group below its own. Its own one stays
// without processes.
func moveTo(path string) error {
	raw, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return err
	}
	dir := filepath.Join("/sys/fs/cgroup", ownCgroup(string(raw)), path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make a control group: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0); err != nil {
		return fmt.Errorf("enter a control group: %w", err)
	}
	return nil
}

// ownCgroup reads /proc/self/cgroup, of cgroup v2: "0::/system.slice/a.service".
func ownCgroup(raw string) string {
	for line := range strings.Lines(raw) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return path
		}
	}
	return ""
}
