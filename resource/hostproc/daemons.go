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
	question := func(pid int, d depth) (Process, error) { return h.daemon(pid, d, programs, users) }
	err = each(ctx, h, "daemons", question, func(pid int, p Process, err error) {
		switch {
		case p.PID != 0:
			found = append(found, p)
		case err != nil:
			unread = cmp.Or(unread, fmt.Errorf("%w: process %d: %w", ErrIncomplete, pid, err))
		}
	})
	return found, cmp.Or(err, unread)
}

// daemon judges one process by the file that it executes: a thread that forks gives the child its own name. The zero
// value is none of them.
func (h Host) daemon(pid int, d depth, programs []string, users []int) (p Process, err error) {
	program, hidden := h.executes(pid)
	isHidden := errors.Is(hidden, fs.ErrPermission)
	if hidden == nil && !slices.Contains(programs, program) || hidden != nil && !isHidden {
		return Process{}, nil
	}
	named := func(comm string) bool { return !isHidden || slices.Contains(programs, comm) }
	if d == outside {
		return Process{}, h.mayBeDaemon(pid, named, users)
	}
	stat, err := h.stat(pid)
	if err != nil || stat.dead() || stat.kernel {
		return Process{}, unlessGone(err)
	}
	if !named(stat.comm) {
		return Process{}, nil
	}
	if isHidden {
		return Process{}, hidden
	}
	if ours, err := h.isDaemon(pid, d, named, users...); err != nil || !ours {
		return Process{}, err
	}
	return Process{PID: pid, Name: program, StartTime: stat.start}, nil
}
