package lab

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/lab/guarded"
	"github.com/vmferry/vmferry/lab/image"
	"github.com/vmferry/vmferry/lab/node"
	"github.com/vmferry/vmferry/lab/supervisor"
)

// Default places of a lab on a machine.
const (
	DefaultDir   = "/var/lib/vmferry-lab"
	DefaultCache = "/var/cache/vmferry-lab"
)

// Network is the lab's own; the address is the one that clients have.
var Network = netip.MustParsePrefix("10.77.0.254/24")

// MaxGuests is how many guests the demo can run: each is an emulator that
// shares the machine's processors with all others.
const MaxGuests = 6

// ErrNotUp says that there is no lab to work with.
var ErrNotUp = errors.New("the lab is not up: start it with `vmferry-lab up`")

// Lab is one lab on this machine. The zero value is not usable: all fields but
// Progress are needed.
type Lab struct {
	Dir   string // what this lab writes while it is up; removed by Down
	Cache string // what it builds once and keeps
	Stage string // a tree made by `make install DESTDIR=…`: what is tested
	Self  string // the vmferry-lab program, static: it is the supervisor and the nodes' fence agent too

	Hypervisor string // that Up gives the nodes: [supervisor.QEMU], which "" is too, or [supervisor.Xen]
	Shape      Shape  // that Up gives the cluster; "" is [Plain]

	Progress func(step string) // gets a line for each step; may be nil
}

// life is what lab.json remembers: enough to find the supervisor again, and
// never to take another process for it.
type life struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // proc_pid_stat(5) field 22, clock ticks after boot
}

func (l *Lab) lifeFile() string { return filepath.Join(l.Dir, "lab.json") }

func (l *Lab) progress(format string, args ...any) {
	if l.Progress != nil {
		l.Progress(fmt.Sprintf(format, args...))
	}
}

// Up makes the lab and returns when its nodes have been asked to boot; a lab
// that is up already is left as it is. If ctx ends first, all that was begun
// is undone, except for what the cache holds whole.
func (l *Lab) Up(ctx context.Context) (err error) {
	hypervisor := cmp.Or(l.Hypervisor, supervisor.QEMU)
	pre, err := prerequisitesOf(hypervisor)
	if err != nil {
		return err
	}
	nodes, err := layOut(l.Shape, hypervisor)
	if err != nil {
		return err
	}
	if err := checkHost(pre.needs); err != nil {
		return err
	}
	unlock, err := l.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := l.supervisor(); err == nil {
		return l.already(ctx, hypervisor)
	}
	if err := l.clean(); err != nil {
		return err
	}
	l.progress("node image")
	tree, err := pre.image.Build(ctx, l.Cache, func(step string) { l.progress("node image: %s", step) })
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.end(context.WithoutCancel(ctx)))
		}
	}()
	if err := l.stock(ctx, tree); err != nil {
		return err
	}
	if l.Shape == Guard {
		if err := guarded.MakeLease(supervisor.Shared(l.Dir), nodes); err != nil {
			return err
		}
	}
	if pre.stock != nil {
		if err := pre.stock(ctx, l, tree); err != nil {
			return err
		}
	}
	l.progress("starting the nodes")
	return l.start(ctx, supervisor.Config{
		Dir: l.Dir, Image: tree, Product: filepath.Join(l.Dir, "product"), Network: Network, Nodes: nodes,
		Hypervisor: hypervisor, Shape: string(cmp.Or(l.Shape, Plain)), Guard: l.Shape == Guard, Mirror: l.Shape == Mirror,
	})
}

// already is Up's answer when there is a lab: it will do if it has the hypervisor and the shape.
func (l *Lab) already(ctx context.Context, hypervisor string) error {
	reply, err := l.Status(ctx)
	if err != nil {
		return err
	}
	if reply.Hypervisor != hypervisor {
		return fmt.Errorf("a lab with hypervisor %q is up already: end it with `vmferry-lab down` first", reply.Hypervisor)
	}
	if want := string(cmp.Or(l.Shape, Plain)); reply.Shape != want {
		return fmt.Errorf("a lab of the shape %q is up already: end it with `vmferry-lab down` first", reply.Shape)
	}
	l.progress("the lab is up already")
	return nil
}

// start runs the supervisor and waits until it is ready.
func (l *Lab) start(ctx context.Context, cfg supervisor.Config) error {
	config, err := json.Marshal(cfg)
	if err != nil {
		return err
	}
	log, err := os.OpenFile(l.log(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	leave, hold, err := os.Pipe()
	if err != nil {
		return err
	}
	defer hold.Close()
	cmd := exec.Command(l.Self, "init")
	// The supervisor reads its configuration from standard input, and does
	// nothing before it came whole: if this process dies first, so does it.
	cmd.Stdin, cmd.Stdout, cmd.Stderr = leave, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true,
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
	}
	err = cmd.Start()
	leave.Close()
	if err != nil {
		return fmt.Errorf("start the lab's supervisor: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	if err := l.remember(cmd.Process.Pid); err != nil {
		return errors.Join(err, cmd.Process.Kill())
	}
	if _, err := hold.Write(append(config, '\n')); err != nil {
		return fmt.Errorf("configure the lab's supervisor: %w", err)
	}
	return l.await(ctx, ended)
}

func (l *Lab) log() string { return filepath.Join(l.Dir, "supervisor.log") }

// remember writes lab.json, whole or not at all.
func (l *Lab) remember(pid int) error {
	start, err := startTime(pid)
	if err != nil {
		return err
	}
	text, err := json.Marshal(life{PID: pid, Start: start})
	if err != nil {
		return err
	}
	part := l.lifeFile() + ".part"
	if err := os.WriteFile(part, text, 0o600); err != nil {
		return err
	}
	return os.Rename(part, l.lifeFile())
}

// await returns when the supervisor answers, has ended, or ctx ends.
func (l *Lab) await(ctx context.Context, ended <-chan error) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := supervisor.Ask(ctx, supervisor.Control(l.Dir), supervisor.Request{Op: supervisor.OpStatus}); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ended:
			return fmt.Errorf("the lab's supervisor ended at once: %s", l.lastWords())
		case <-tick.C:
		}
	}
}

// lastWords is the end of the supervisor's log.
func (l *Lab) lastWords() string { return tail(l.log(), 500) }

// LastWords is the end of what a node printed on its console.
func (l *Lab) LastWords(node string) string { return tail(supervisor.Console(l.Dir, node), 200) }

// tail is the end of a text file, or why there is none.
func tail(path string, size int) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text[max(0, len(text)-size):]))
}

// supervisor finds the running supervisor's process id, or says [ErrNotUp].
func (l *Lab) supervisor() (int, error) {
	text, err := os.ReadFile(l.lifeFile())
	if errors.Is(err, fs.ErrNotExist) {
		return 0, ErrNotUp
	}
	if err != nil {
		return 0, err
	}
	var was life
	if err := json.Unmarshal(text, &was); err != nil {
		return 0, fmt.Errorf("read %q: %w", l.lifeFile(), err)
	}
	if start, err := startTime(was.PID); err != nil || start != was.Start {
		return 0, ErrNotUp
	}
	return was.PID, nil
}

// ExitError says that a command ran inside the lab and failed; it has printed the
// reason itself.
type ExitError struct{ Code int }

// Error is for those who want to log it.
func (e *ExitError) Error() string {
	return fmt.Sprintf("the command inside the lab ended with status %d", e.Code)
}

// Attach runs a command with this process's standard streams. A command that
// fails is an [ExitError].
func Attach(cmd *exec.Cmd) error {
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return &ExitError{Code: max(1, exit.ExitCode())}
	}
	return err
}

// Enter runs the vmferry-lab program with the given arguments inside the
// lab's namespaces, as [Attach] does. An interrupt from the terminal reaches it as it reaches this process;
// when ctx ends it is interrupted too.
func (l *Lab) Enter(ctx context.Context, args ...string) error {
	pid, err := l.supervisor()
	if err != nil {
		return err
	}
	wd, err := os.Getwd()
	if err != nil {
		return err
	}
	enter := []string{
		"--target=" + strconv.Itoa(pid), "--mount", "--net", "--pid", "--ipc", "--uts", "--root", "--wd=" + wd, "--",
		l.Self, "--dir=" + l.Dir, "--cache=" + l.Cache, "--stage=" + l.Stage,
	}
	cmd := exec.CommandContext(ctx, "nsenter", append(enter, args...)...)
	// nsenter waits for its child and a terminal interrupts both; a signal
	// that was sent to this process alone must reach the child.
	cmd.Cancel = func() error { return node.SignalChildren(cmd.Process.Pid, unix.SIGINT) }
	cmd.WaitDelay = 30 * time.Second
	return Attach(cmd)
}

// Down ends the lab and removes all that it made but the cache. It is safe to
// call when no lab is up, and after an interrupt at any moment of Up or Down.
func (l *Lab) Down(ctx context.Context) error {
	if err := CheckHost(); err != nil {
		return err
	}
	unlock, err := l.lock()
	if err != nil {
		return err
	}
	defer unlock()
	return errors.Join(l.end(ctx), image.Sweep(l.Cache))
}

// end is Down for one who holds the lock.
func (l *Lab) end(ctx context.Context) error {
	pid, err := l.supervisor()
	if errors.Is(err, ErrNotUp) {
		return l.clean()
	}
	if err != nil {
		return err
	}
	l.progress("stopping the nodes")
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("open the lab's supervisor by pidfd: %w", err)
	}
	if err == nil {
		defer unix.Close(fd)
		ask, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		_, err := supervisor.Ask(ask, supervisor.Control(l.Dir), supervisor.Request{Op: supervisor.OpStop})
		if err == nil {
			err = waitExit(fd, 10*time.Second)
		}
		if err != nil {
			if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("kill the lab's supervisor: %w", err)
			}
			if err := waitExit(fd, 20*time.Second); err != nil {
				return err
			}
		}
	}
	return l.clean()
}

// clean removes the lab's folder, unless it is somebody else's.
func (l *Lab) clean() error {
	entries, err := os.ReadDir(l.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	own := []string{"lab.json", "lab.json.part", "product", "device", "shared", "nodes", "watchdogs", "cgroup", "control.sock", "supervisor.log", "ssh"}
	for _, shape := range []Shape{Plain, Field} {
		nodes, err := NodesOf(shape)
		if err != nil {
			return err
		}
		for _, n := range nodes {
			own = append(own, filepath.Base(supervisor.Console(l.Dir, n.Name)))
		}
	}
	for _, entry := range entries {
		if !slices.Contains(own, entry.Name()) {
			return fmt.Errorf("%q contains %q, which no lab made: use another folder with --dir", l.Dir, entry.Name())
		}
	}
	return supervisor.Clean(l.Dir)
}

// lock keeps two commands from changing the lab at once. It is on the cache
// folder, which stays; the kernel drops it when the process ends.
func (l *Lab) lock() (unlock func(), err error) {
	if err := os.MkdirAll(l.Cache, 0o755); err != nil {
		return nil, fmt.Errorf("make the cache folder: %w", err)
	}
	dir, err := os.Open(l.Cache)
	if err != nil {
		return nil, fmt.Errorf("lock the lab: %w", err)
	}
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		dir.Close()
		return nil, fmt.Errorf("another vmferry-lab uses %q: wait for it, or interrupt it", l.Dir)
	}
	return func() { dir.Close() }, nil
}

// Status asks the running lab what it consists of, or says [ErrNotUp].
func (l *Lab) Status(ctx context.Context) (supervisor.Reply, error) {
	if _, err := l.supervisor(); err != nil {
		return supervisor.Reply{}, err
	}
	return supervisor.Ask(ctx, supervisor.Control(l.Dir), supervisor.Request{Op: supervisor.OpStatus})
}
