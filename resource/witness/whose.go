package witness

import (
	"os"
	"sync"
	"time"
)

// judge tells of processes whether they are libvirt's, in one scan.
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

// look tells whether a process is libvirt's, by what its user cannot choose: not by its name or its command line. It
// reads nothing for which the kernel needs the process's memory, which its user can make slow, large, or never come.
// A process that has ended is nobody's. An error says that it may be there and could not be looked at.
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

// owned tells whether a process that libvirt has neither put into a guest's control group nor noted may yet be libvirt's, by
// its user. Root in a container is no other user than root, so the place counts as well. And anybody can make a
// process of root's, with a name and arguments that he likes, by a set-user-ID program: so where users or their
// services may be, of root's only a QEMU counts that runs without that, as an administrator may start one by hand.
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
	program, setuid, known := j.host.program(pid)
	if at == inUnit || at == inSession && j.host.System {
		return owner.real == 0 && known && !setuid && isEmulator(program), nil
	}
	return !setuid, nil
}

// IsDaemon tells whether a process is a daemon of this node's system: the kernel's name of it is one that named knows, and
// it runs as one of these users. A process in a container is none, nor one of a user's session, unless its program
// is called so too. A process that has ended is none; an error says that it is there and could
// not be looked at.
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
	program, setuid, known := h.program(pid)
	return !setuid && (group.place != inSession || known && named(program)), nil
}

func unlessGone(err error) error {
	if gone(err) {
		return nil
	}
	return err
}
