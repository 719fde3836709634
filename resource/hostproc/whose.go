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
// none. It reads no file that the user can make slow, large or endless. A process that has ended is not libvirt's. An
// error says that the process may exist and cannot be read.
func (j judge) look(pid int, d depth) (l look, err error) {
	if d == outside {
		return j.glance(pid)
	}
	stat, err := j.host.stat(pid)
	if err != nil || stat.dead() || stat.kernel {
		return look{}, err
	}
	group, err := j.host.group(pid, j.base)
	if err != nil {
		return look{}, err
	}
	l = look{pid: pid, stat: stat, group: group, files: filed(j.files[pid], stat, j.boot)}
	ours := group.guest || len(l.files) > 0
	if !ours {
		ours, err = j.owned(pid, group.place, d)
	}
	if err != nil || !ours {
		return l, err
	}
	again, err := j.host.stat(pid) // another process may have got the number between two looks
	l.ours = err == nil && again.start == stat.start
	return l, err
}

// glance judges a process whose stat or exe cannot be read: nil is that it is no guest's, and errStuck that it may be
// one's. One that is in execve is no guest's yet, like a child of libvirt's before that, unless libvirt has made a
// control group for it.
func (j judge) glance(pid int) (l look, err error) {
	if l.group, err = j.host.group(pid, j.base); err != nil {
		return l, err
	}
	owner, err := j.host.owner(pid)
	if err != nil {
		return l, err
	}
	for _, f := range j.files[pid] {
		if f.locker == pid {
			l.files = append(l.files, f.name)
		}
	}
	noted := l.group.guest || len(j.files[pid]) > 0
	if !noted && (l.group.place == inContainer || owner.nested || !owner.isOneOf(j.users())) {
		return l, nil
	}
	cmdline, err := readSome(j.host.path(pid, "cmdline"), maxCmdline)
	_, named := parseCmdline(cmdline)
	if noted && !isHelper(owner.name) || named || unrecognised(owner.name, cmdline, err, false) != nil {
		return l, errStuck
	}
	return l, nil
}

// owned reports whether a process may be libvirt's by its user, where libvirt neither put it into a guest's control
// group nor wrote a pid file for it. The place matters too: a container's root may have the same number as root, and
// a set-user-ID program runs as root with the name and the arguments that any user chooses. So among the processes of
// users and of other services only a QEMU counts that root itself runs, as an administrator may by hand. Where auxv
// cannot be read a program counts for one that is not set-user-ID.
func (j judge) owned(pid int, at place, d depth) (bool, error) {
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
	// The libvirt of a user's session may run as a service of the system.
	isSessions := !j.host.System && owner.real != 0 && owner.isOneOf(j.host.Users)
	if at == inUnit && !isSessions || at == inSession && j.host.System {
		if file, err := j.host.executes(pid); owner.real != 0 || err != nil || !isEmulator(file) {
			return false, nil
		}
	}
	if d != whole {
		return true, nil
	}
	_, setuid, _ := j.host.program(pid, owner.real)
	return !setuid, nil
}

// IsDaemon reports whether a process is a daemon of this node's system: named accepts its name (comm of
// proc_pid_comm(5)) and it runs as one of users. It is not a daemon in a container, nor in a user's session unless
// named accepts the file that it executes too. A process that has ended is no daemon. An error says that the process
// exists and cannot be judged, or that ctx has ended. Users are numbers; see [Host.UserID].
func (h Host) IsDaemon(ctx context.Context, pid int, named func(program string) bool, users ...int) (bool, error) {
	return askOne(ctx, h, aboutProcess, pid, func(d depth) (bool, error) { return h.isDaemon(pid, d, named, users...) })
}

// HasDaemon reports whether any process is such a daemon, as [Host.IsDaemon] has it. An error says that some cannot be
// judged and none of the others is one.
func (h Host) HasDaemon(ctx context.Context, named func(program string) bool, users ...int) (found bool, err error) {
	var unsure error
	question := func(pid int, d depth) (bool, error) { return h.isDaemon(pid, d, named, users...) }
	err = each(ctx, h, question, func(pid int, is bool, err error) {
		if found = found || is; err != nil {
			unsure = cmp.Or(unsure, fmt.Errorf("%w: process %d: %w", ErrIncomplete, pid, err))
		}
	})
	if found {
		return true, nil
	}
	return false, cmp.Or(err, unsure)
}

func (h Host) isDaemon(pid int, d depth, named func(program string) bool, users ...int) (bool, error) {
	if d == outside {
		return false, h.mayBeDaemon(pid, named, users)
	}
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
	if d != whole {
		return false, errStuck
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

// mayBeDaemon is errStuck where a process whose stat or exe cannot be read may be a daemon.
func (h Host) mayBeDaemon(pid int, named func(program string) bool, users []int) error {
	owner, err := h.owner(pid)
	if err != nil || owner.nested || !owner.isOneOf(users) || !named(owner.name) {
		return unlessGone(err)
	}
	group, err := h.group(pid, h.base())
	if err != nil || group.place == inContainer {
		return unlessGone(err)
	}
	return errStuck
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
	type candidate struct {
		Process
		read *reading
	}
	var candidates []candidate
	var unread error
	question := func(pid int, d depth) (procStat, error) { return h.helper(pid, d, wanted) }
	err = each(ctx, h, question, func(pid int, s procStat, err error) {
		switch {
		case err != nil:
			unread = cmp.Or(unread, fmt.Errorf("%w: process %d: %w", ErrIncomplete, pid, err))
		case s.comm != "":
			candidates = append(candidates, candidate{Process{PID: pid, StartTime: s.start}, h.beginRead(pid, s)})
		}
	})
	wait := waiter{time.Now()}
	for _, c := range candidates {
		raw, err := wait.await(ctx, c.read)
		switch {
		case errors.Is(err, errBlocked):
			unread = cmp.Or(unread, fmt.Errorf("%w: process %d: %w", ErrIncomplete, c.PID, err))
		case err == nil && wanted.Suits(arguments(raw)):
			found = append(found, c.Process)
		}
	}
	return found, cmp.Or(err, unread)
}

// helper looks at one process, at what the kernel tells without the command line; the zero value is none. One that has
// ended meanwhile is none, and so is one that root does not run as a daemon of this node: anybody may give a program
// these names. An error is only that the kernel does not answer.
func (h Host) helper(pid int, d depth, wanted Helper) (procStat, error) {
	anyName := func(string) bool { return true }
	if d == outside { // its file cannot be read
		isWanted := func(comm string) bool { return comm == wanted.Program[:min(len(wanted.Program), commLength)] }
		return procStat{}, onlyStuck(h.mayBeDaemon(pid, isWanted, []int{0}))
	}
	if file, err := h.executes(pid); err != nil || file != wanted.Program {
		return procStat{}, nil
	}
	if ours, err := h.isDaemon(pid, d, anyName, 0); err != nil || !ours {
		return procStat{}, onlyStuck(err)
	}
	stat, err := h.stat(pid)
	if err != nil || stat.dead() {
		return procStat{}, nil
	}
	isParent := func(program string) bool { return slices.Contains(wanted.Parents, program) }
	if ours, err := h.isDaemon(stat.parent, d, isParent, 0); err != nil || !ours {
		return procStat{}, onlyStuck(err)
	}
	return stat, nil
}

func onlyStuck(err error) error {
	if errors.Is(err, errStuck) {
		return err
	}
	return nil
}
