package hostproc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Helper is what a program that works for a daemon looks like to the kernel.
type Helper struct {
	Program string                   // the last part of its file's name, such as "libxl-save-helper"
	Parents []string                 // what started it, as the kernel calls that: at most 15 bytes (comm, proc(5))
	Suits   func(args []string) bool // of its arguments, the first of which is its name
}

// Helpers returns the processes that look so and that root runs, as it does their parents, outside containers and
// sessions ([Host.IsDaemon]): of them PID and StartTime are known. With an error, which is
// [ErrIncomplete], there may be others. It returns at the end of ctx, as [Host.List] does.
func (h Host) Helpers(ctx context.Context, wanted Helper) (found []Process, err error) {
	wait := waiter{time.Now()}
	var unread error
	err = h.each(ctx, func(pid int) {
		p, ok, err := h.helper(ctx, &wait, pid, wanted)
		switch {
		case ok:
			found = append(found, p)
		case err != nil:
			unread = cmp.Or(unread, fmt.Errorf("%w: process %d: %w", ErrIncomplete, pid, err))
		}
	})
	return found, cmp.Or(err, unread)
}

// helper looks at one process, first at what the kernel tells without the process's memory. One that has ended meanwhile
// is none, and so is one that root does not run as a daemon of this node: anybody may give a program these names.
func (h Host) helper(ctx context.Context, wait *waiter, pid int, wanted Helper) (p Process, ok bool, err error) {
	if program, _, err := h.program(pid, 0); err != nil || program != wanted.Program {
		return Process{}, false, nil
	}
	anyName := func(string) bool { return true }
	if ours, err := h.IsDaemon(pid, anyName, 0); err != nil || !ours {
		return Process{}, false, nil
	}
	stat, err := h.stat(pid)
	if err != nil || stat.dead() {
		return Process{}, false, nil
	}
	isParent := func(program string) bool { return slices.Contains(wanted.Parents, program) }
	if ours, err := h.IsDaemon(stat.parent, isParent, 0); err != nil || !ours {
		return Process{}, false, nil
	}
	raw, err := wait.await(ctx, h.beginRead(pid, stat))
	if errors.Is(err, errBlocked) {
		return Process{}, false, err
	}
	if err != nil || !wanted.Suits(arguments(raw)) {
		return Process{}, false, nil
	}
	return Process{PID: pid, StartTime: stat.start}, true, nil
}
