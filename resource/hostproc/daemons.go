package hostproc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
)

// Daemons returns the processes of the system's libvirt that execute one of its daemons: the daemons themselves, and
// what they have forked that does not execute a QEMU yet. It runs as root or as QEMU's user; of each PID, Name (the
// program) and StartTime are known. With an error, which is [ErrIncomplete], there may be others. Nothing in a
// container counts.
func (h Host) Daemons(ctx context.Context, programs ...string) (found []Process, err error) {
	users := h.qemuUsers()
	var unread error
	question := func(pid int, d depth) (Process, error) { return h.daemon(pid, d, programs, users) }
	err = each(ctx, h, question, func(pid int, p Process, err error) {
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
	if d == outside {
		return Process{}, h.mayBeStart(pid, programs, users)
	}
	program, hidden := h.executes(pid)
	isHidden := errors.Is(hidden, fs.ErrPermission)
	if hidden == nil && !slices.Contains(programs, program) || hidden != nil && !isHidden {
		return Process{}, nil
	}
	named := func(comm string) bool { return !isHidden || slices.Contains(programs, comm) }
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

// mayBeStart is errStuck where a process that is in execve, and whose file cannot be read, may be what libvirt's
// daemons have forked: one in their service or in a guest's control group, or on a node without services any one whose
// parent is not known for another program. A child has the name of who forked it until execve is over.
func (h Host) mayBeStart(pid int, programs []string, users []int) error {
	owner, err := h.owner(pid)
	if err != nil || owner.nested || !owner.isOneOf(users) {
		return unlessGone(err)
	}
	group, err := h.group(pid, h.base())
	if err != nil || group.place > inLibvirt {
		return unlessGone(err)
	}
	if group.guest || group.place == inLibvirt {
		return errStuck
	}
	parent, err := h.owner(owner.parent)
	file, hidden := h.executes(owner.parent)
	if err == nil && hidden == nil && parent.name == owner.name && !slices.Contains(programs, file) {
		return nil
	}
	return errStuck
}
