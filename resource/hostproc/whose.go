package hostproc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
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

// IsDaemon reports whether a process is a daemon of this node's system: named accepts its name (comm of proc_pid_comm(5))
// and it runs as one of users. It is not a daemon in a container, nor in a user's session unless named accepts
// the file that it executes too. A process that has ended is no daemon. An error says that the process exists and
// cannot be judged. Users are numbers; see [Host.UserID].
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
		return fmt.Errorf("%w: %s shows no process 1 (not mounted, or mounted with hidepid: see HIDDEN PROCESSES in vmferryd(8)): %w",
			ErrIncomplete, h.ProcDir(), err)
	}
	return nil
}

func unlessGone(err error) error {
	if gone(err) {
		return nil
	}
	return err
}
