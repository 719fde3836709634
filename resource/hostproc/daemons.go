package hostproc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
)

// Daemons returns the processes of the system's libvirt that execute one of its daemons: the daemons themselves, and what
// they have forked that does not execute a QEMU yet. It runs as root or as QEMU's user; of each PID, Name (the program)
// and StartTime are known. With an error, which is [ErrIncomplete], there may be others. Nothing in a container counts.
func (h Host) Daemons(ctx context.Context, programs ...string) (found []Process, err error) {
	users := h.qemuUsers()
	var unread error
	err = h.each(ctx, func(pid int) {
		p, ok, err := h.daemon(pid, programs, users)
		switch {
		case ok:
			found = append(found, p)
		case err != nil:
			unread = cmp.Or(unread, fmt.Errorf("%w: process %d: %w", ErrIncomplete, pid, err))
		}
	})
	return found, cmp.Or(err, unread)
}

// daemon judges one process by the file that it executes: a thread that forks gives the child its own name.
func (h Host) daemon(pid int, programs []string, users []int) (p Process, ok bool, err error) {
	program, _, hidden := h.program(pid, 0)
	if hidden == nil && !slices.Contains(programs, program) {
		return Process{}, false, nil
	}
	stat, err := h.stat(pid)
	if err != nil || stat.dead() || stat.kernel {
		return Process{}, false, unlessGone(err)
	}
	if errors.Is(hidden, fs.ErrPermission) && slices.Contains(programs, stat.comm) {
		return Process{}, false, hidden
	}
	anyName := func(string) bool { return true }
	if ours, err := h.IsDaemon(pid, anyName, users...); err != nil || !ours || hidden != nil {
		return Process{}, false, err
	}
	return Process{PID: pid, Name: program, StartTime: stat.start}, true, nil
}
