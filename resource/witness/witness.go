package witness

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// ErrIncomplete says that some processes could not be looked at, so that an
// absence proves nothing.
var ErrIncomplete = errors.New("cannot see every process of this node")

// The places of a real node.
const (
	defaultProc = "/proc"
	defaultRun  = "/run/libvirt/qemu"
)

// Condition is what the hypervisor itself says of a guest that is here.
type Condition int

// The conditions. QEMU's processes are all alive.
const (
	Alive  Condition = iota // it runs, or rests as somebody wishes
	Halted                  // it stands still for a hand-over or a saving that is under way, or has failed
	Ending                  // it has shut down or is being torn down, maybe to be made anew at once
	Broken                  // it crashed, and was kept
)

// String is the condition in a few words, for reasons.
func (c Condition) String() string {
	return [...]string{"alive", "standing still for a hand-over", "ending", "crashed"}[c]
}

// Process is what runs one guest: its QEMU process, or its domain of Xen's.
type Process struct {
	PID  int    // of a domain, its number
	Name string // libvirt's name of the guest, empty when the command line has none
	UUID string // dashed and lower case, empty when the command line has none
	// Incoming says that the process was started to receive a guest and that
	// nothing shows that the guest runs in it yet. libvirt's status file clears
	// it after a migration; without that file it stays set for the process's life.
	Incoming  bool
	StartTime uint64 // clock ticks after boot, field 22 of proc(5)'s stat; 0 for a domain
	Condition Condition
	Domain    bool // it is a domain of Xen's
}

// String names the process or domain.
func (p Process) String() string {
	if p.Domain {
		return fmt.Sprintf("Xen domain %d", p.PID)
	}
	return fmt.Sprintf("QEMU process %d", p.PID)
}

// Host is where the witness looks. The zero value is this node.
type Host struct {
	Proc string // proc file system, default /proc
	Run  string // libvirt's QEMU state (NAME.pid, NAME.xml), default /run/libvirt/qemu
}

// List returns the QEMU processes of all guests on this node; see [Host.List].
func List(ctx context.Context) ([]Process, error) { return Host{}.List(ctx) }

// List returns the QEMU processes of all guests, in the order of their numbers. With an
// error, which is [ErrIncomplete], it returns those that it did see.
//
// A read in /proc hangs as long as the process looked at holds its memory lock, which
// a QEMU in a storage stall may do. List then returns at the end of ctx.
func (h Host) List(ctx context.Context) ([]Process, error) {
	seen := h.watch(ctx)
	return seen.found, seen.doubt("")
}

// sighting is one scan of the processes.
type sighting struct {
	found   []Process
	exiting []exiting
	problem error // why some processes were not seen
}

// exiting is a QEMU that has lost its command line and may have its images still open.
type exiting struct {
	pid     int
	machine string // whose it is, as far as its control group tells; empty where it does not
}

// doubt is why the named guest may have a process that is not among those found, nil
// where it has none for certain. An empty name is for any guest.
func (s sighting) doubt(guest string) error {
	if s.problem != nil {
		return s.problem
	}
	for _, e := range s.exiting {
		if guest == "" || mayBe(e.machine, guest) {
			return fmt.Errorf("%w: process %d: %w", ErrIncomplete, e.pid, errExiting)
		}
	}
	return nil
}

// watch scans, and gives up at the end of ctx.
func (h Host) watch(ctx context.Context) sighting {
	done := make(chan sighting, 1)
	go func() { done <- h.scan(ctx) }()
	select {
	case s := <-done:
		return s
	case <-ctx.Done():
		return sighting{problem: fmt.Errorf("%w: %w", ErrIncomplete, context.Cause(ctx))}
	}
}

// Find returns the processes of one guest, normally none or one. uuid may be empty. Where
// a process has that UUID only such are returned; else those of that name are.
// Errors are those of [Host.List], without those that can only concern other guests.
func (h Host) Find(ctx context.Context, name, uuid string) ([]Process, error) {
	seen := h.watch(ctx)
	return match(seen.found, name, uuid), seen.doubt(name)
}

func match(all []Process, name, uuid string) []Process {
	var byUUID, byName []Process
	for _, p := range all {
		if uuid != "" && strings.EqualFold(p.UUID, uuid) {
			byUUID = append(byUUID, p)
		}
		if name != "" && p.Name == name {
			byName = append(byName, p)
		}
	}
	if len(byUUID) > 0 {
		return byUUID
	}
	return byName
}

func (h Host) proc() string {
	if h.Proc == "" {
		return defaultProc
	}
	return h.Proc
}

func (h Host) run() string {
	if h.Run == "" {
		return defaultRun
	}
	return h.Run
}

// scan looks at every process. It ends at ctx between two of them.
func (h Host) scan(ctx context.Context) (s sighting) {
	if err := h.each(ctx, func(pid int) { s.add(pid, h) }); err != nil {
		s.problem = cmp.Or(s.problem, err)
		return s
	}
	s.problem = h.pidFilesSeen(s)
	return s
}

// each calls f with the number of every process. An error, which is [ErrIncomplete], says that there may be others.
func (h Host) each(ctx context.Context, f func(pid int)) error {
	entries, err := os.ReadDir(h.proc())
	if err != nil {
		return fmt.Errorf("%w: %w", ErrIncomplete, err)
	}
	sawInit := false
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid <= 0 {
			continue
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %w", ErrIncomplete, context.Cause(ctx))
		}
		sawInit = sawInit || pid == 1
		f(pid)
	}
	if !sawInit {
		return fmt.Errorf("%w: %s shows no process 1 (not mounted, or hidepid without being root)", ErrIncomplete, h.proc())
	}
	return nil
}

// add looks at one process.
func (s *sighting) add(pid int, h Host) {
	p, ok, err := h.look(pid)
	switch {
	case ok:
		s.found = append(s.found, p)
	case errors.Is(err, errExiting):
		s.exiting = append(s.exiting, exiting{pid, h.machine(pid)})
	case err != nil && s.problem == nil:
		s.problem = fmt.Errorf("%w: process %d: %w", ErrIncomplete, pid, err)
	}
}

var errExiting = errors.New("a QEMU that is exiting has lost its command line")

// look reads one process. ok is false for what is no guest's QEMU or is gone.
func (h Host) look(pid int) (p Process, ok bool, err error) {
	cmdline, err := os.ReadFile(h.path(pid, "cmdline"))
	if gone(err) {
		return Process{}, false, nil
	}
	if err != nil {
		return Process{}, false, err
	}
	id, isGuest := parseCmdline(cmdline)
	if !isGuest && len(cmdline) > 0 {
		return Process{}, false, nil
	}
	stat, err := h.stat(pid)
	switch {
	case gone(err):
		return Process{}, false, nil
	case err != nil:
		return Process{}, false, err
	case stat.dead():
		return Process{}, false, nil
	case !isGuest && isEmulator(stat.comm):
		// The kernel drops the command line with the memory, before the
		// files: the image may still be open. Nobody can say whose it was.
		return Process{}, false, errExiting
	case !isGuest:
		return Process{}, false, nil
	}
	p = Process{PID: pid, Name: id.name, UUID: id.uuid, StartTime: stat.start}
	p.Incoming = id.incoming && !h.resumed(p)
	return p, true, nil
}

func (h Host) path(pid int, file string) string {
	return filepath.Join(h.proc(), strconv.Itoa(pid), file)
}

func (h Host) stat(pid int) (procStat, error) {
	raw, err := os.ReadFile(h.path(pid, "stat"))
	if err != nil {
		return procStat{}, err
	}
	return parseStat(raw)
}

// gone tells that a read failed because the process ended: open says ENOENT,
// a read of an open file says ESRCH.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH)
}
