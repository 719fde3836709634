package witness

import (
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

// Process is the QEMU process of one guest.
type Process struct {
	PID  int
	Name string // libvirt's name of the guest, empty when the command line has none
	UUID string // dashed and lower case, empty when the command line has none
	// Incoming says that the process was started to receive a guest and that
	// nothing shows that the guest runs in it yet. libvirt's status file clears
	// it after a migration; without that file it stays set for the process's life.
	Incoming  bool
	StartTime uint64 // clock ticks after boot, field 22 of proc(5)'s stat
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
	type result struct {
		found []Process
		err   error
	}
	done := make(chan result, 1)
	go func() {
		found, err := h.scan(ctx)
		done <- result{found, err}
	}()
	select {
	case r := <-done:
		return r.found, r.err
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrIncomplete, context.Cause(ctx))
	}
}

// Find returns the processes of one guest, normally none or one. uuid may be empty. Where
// a process has that UUID only such are returned; else those of that name are.
// Errors are those of [Host.List].
func (h Host) Find(ctx context.Context, name, uuid string) ([]Process, error) {
	all, err := h.List(ctx)
	return match(all, name, uuid), err
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
func (h Host) scan(ctx context.Context) ([]Process, error) {
	entries, err := os.ReadDir(h.proc())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrIncomplete, err)
	}
	var found []Process
	var problem error
	sawInit := false
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid <= 0 {
			continue
		}
		if ctx.Err() != nil {
			return found, fmt.Errorf("%w: %w", ErrIncomplete, context.Cause(ctx))
		}
		sawInit = sawInit || pid == 1
		p, ok, err := h.look(pid)
		if ok {
			found = append(found, p)
		}
		if err != nil && problem == nil {
			problem = fmt.Errorf("%w: process %d: %w", ErrIncomplete, pid, err)
		}
	}
	if !sawInit && problem == nil {
		problem = fmt.Errorf("%w: %s shows no process 1 (not mounted, or hidepid without being root)", ErrIncomplete, h.proc())
	}
	return found, h.pidFilesSeen(found, problem)
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
