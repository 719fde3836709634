package hostproc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"
)

// judge reports processes whether they are libvirt's, in one scan.
type judge struct {
	host  Host
	base  string // of the node's control groups
	files map[int][]pidFile
	boot  time.Time
	users func() []int // as which libvirt starts QEMU; few processes make it necessary to know them
}

func (h Host) newJudge() judge {
	return judge{h, h.base(), h.pidFiles(), bootTime(), sync.OnceValue(h.emulatorUsers)}
}

// emulatorUsers are the users as which the QEMU of a guest that matters may run.
func (h Host) emulatorUsers() []int {
	switch {
	case h.System:
		return h.qemuUsers()
	case h.Users == nil:
		return append(h.qemuUsers(), os.Geteuid())
	}
	return append(h.qemuUsers(), h.Users...)
}

// look reports whether a process is libvirt's, by facts that its user cannot choose; the name and the command line are
// none. It reads no file for which the kernel needs the process's memory: the user can make such a read slow, large
// or endless. A process that has ended is not libvirt's. An error says that the process may exist and cannot be read.
func (j judge) look(pid int) (l look, ours bool, err error) {
	stat, err := j.host.stat(pid)
	if err != nil || stat.dead() || stat.kernel {
		return look{}, false, err
	}
	group, err := j.host.group(pid, j.base)
	if err != nil {
		return look{}, false, err
	}
	l = look{pid: pid, stat: stat, group: group, files: filed(j.files[pid], stat, j.boot)}
	ours = group.guest || len(l.files) > 0
	if !ours {
		ours, err = j.owned(pid, group.place)
	}
	if err != nil || !ours {
		return l, false, err
	}
	again, err := j.host.stat(pid) // another process may have got the number between two looks
	return l, err == nil && again.start == stat.start, err
}

// owned reports whether a process may be libvirt's by its user, where libvirt neither put it into a guest's control
// group nor wrote a pid file for it. The place matters too: a container's root may have the same number as root, and
// a set-user-ID program runs as root with the name and the arguments that any user chooses. So among the processes of
// users and of other services only a QEMU counts that root itself runs, as an administrator may by hand.
func (j judge) owned(pid int, at place) (bool, error) {
	if at == inContainer {
		return false, nil
	}
	owner, err := j.host.owner(pid)
	if err != nil {
		return false, err
	}
	if owner.nested || !owner.isOneOf(j.users()) {
		return false, nil
	}
	program, setuid, err := j.host.program(pid, owner.real)
	// The libvirt of a user's session may run as a service of the system.
	isSessions := !j.host.System && owner.real != 0 && owner.isOneOf(j.host.Users)
	if at == inUnit && !isSessions || at == inSession && j.host.System {
		return owner.real == 0 && err == nil && !setuid && isEmulator(program), nil
	}
	return !setuid, nil
}

// IsDaemon reports whether a process is a daemon of this node's system: named accepts its name (comm of
// proc_pid_comm(5)) and it runs as one of users. It is not a daemon in a container, nor in a user's session unless
// named accepts the file that it executes too. A process that has ended is no daemon. An error says that the process
// exists and cannot be judged. Users are numbers; see [Host.UserID].
func (h Host) IsDaemon(pid int, named func(program string) bool, users ...int) (bool, error) {
	stat, err := h.stat(pid)
	if err != nil || stat.dead() || stat.kernel || !named(stat.comm) {
		return false, unlessGone(err)
	}
	owner, err := h.owner(pid)
	if err != nil || owner.nested || !owner.isOneOf(users) {
		return false, unlessGone(err)
	}
	group, err := h.group(pid, h.base())
	if err != nil || group.place == inContainer {
		return false, unlessGone(err)
	}
	program, setuid, err := h.program(pid, owner.real)
	switch {
	case err != nil && owner.isUsers():
		return false, nil
	case group.place != inSession:
		return !setuid, nil
	case errors.Is(err, fs.ErrPermission) && owner.real == 0:
		return false, fmt.Errorf("%w: in a session, and which file it executes is hidden without CAP_SYS_PTRACE",
			ErrIncomplete)
	}
	return !setuid && err == nil && named(program), nil
}

// SeesAll is an error, which is [ErrIncomplete], where the proc file system hides processes from this program: then it
// says nothing that one is not found there.
func (h Host) SeesAll() error {
	if _, err := os.Stat(h.path(1, "stat")); err != nil {
		return fmt.Errorf("%w: %s shows no process 1 "+
			"(not mounted, or mounted with hidepid: see HIDDEN PROCESSES in vmferryd(8)): %w", ErrIncomplete,
			h.ProcDir(), err)
	}
	return nil
}

func unlessGone(err error) error {
	if gone(err) {
		return nil
	}
	return err
}

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

// helper looks at one process, first at what the kernel tells without the process's memory. One that has ended
// meanwhile is none, and so is one that root does not run as a daemon of this node: anybody may give a program these
// names.
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
