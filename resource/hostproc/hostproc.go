package hostproc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrIncomplete says that some processes could not be looked at, so that an
// absence proves nothing.
var ErrIncomplete = errors.New("cannot see every process of this node")

// The places of a real node.
const (
	defaultProc = "/proc"
	defaultRun  = "/run/libvirt/qemu"
	defaultEtc  = "/etc"
)

// Condition is what the hypervisor itself says of a guest that is here.
type Condition int

// The conditions. QEMU's processes are all alive.
const (
	Alive  Condition = iota // it runs, or is paused as somebody wishes
	Halted                  // it is paused for a switchover or a save that is under way, or has failed
	Ending                  // it has shut down or is being destroyed, maybe to be made again at once
	Broken                  // it crashed, and was kept
)

// String is the condition in a few words, for reasons.
func (c Condition) String() string {
	return [...]string{"alive", "paused for a switchover", "ending", "crashed"}[c]
}

// Process is what runs one guest: its QEMU process, or its domain of Xen's.
type Process struct {
	PID  int    // of a domain, its number
	Name string // libvirt's name of the guest, empty when the command line has none
	UUID string // dashed and lower case, empty when the command line has none, or could not be read
	// Incoming says that the process was started to receive a guest and that
	// nothing shows that the guest runs in it yet. libvirt's status file clears
	// it after a migration; without that file it stays set for the process's life.
	Incoming  bool
	StartTime uint64 // clock ticks after boot, field 22 of proc(5)'s stat; 0 for a domain
	Condition Condition
	Domain    bool // it is a domain of Xen's
	// Helper says that it works for the guest beside its QEMU, as virtiofsd does. Where that QEMU has ended, UUID is empty
	// and Name is what the control group has kept of the name: see MayBeOf.
	Helper bool
}

// String names the process or domain.
func (p Process) String() string {
	switch {
	case p.Domain:
		return fmt.Sprintf("Xen domain %d", p.PID)
	case p.Helper:
		return fmt.Sprintf("helper process %d of guest %q", p.PID, p.Name)
	}
	return fmt.Sprintf("QEMU process %d", p.PID)
}

// Began is how long after the host's boot the process began, 0 for a domain of Xen's. The kernel counts it in
// hundredths of a second.
func (p Process) Began() time.Duration { return sinceBoot(p.StartTime) }

// Host is where to look. The zero value is this node.
type Host struct {
	Proc string // proc file system, default /proc
	Run  string // libvirt's QEMU state (NAME.pid, NAME.xml), default /run/libvirt/qemu
	Etc  string // configuration (libvirt/qemu.conf, passwd), default /etc
	// System says that only guests of the system's libvirt matter. A user's session holds none of them, but for what a
	// pid file in Run names, and for a QEMU that root runs there.
	System bool
	// Users are the numbers of the users whose session guests matter too, unless System is set. Nil is the user of
	// this program.
	Users []int
}

// List returns the QEMU processes of all guests, in the order of their numbers. With an
// error, which is [ErrIncomplete], it returns those that it did see.
//
// To read a command line hangs as long as the process holds its memory lock, which a QEMU in a storage stall
// may do. List waits for all such together, a second at most after the last one that it could read. It returns
// at the end of ctx.
func (h Host) List(ctx context.Context) ([]Process, error) {
	seen := h.scan(ctx)
	return seen.found, seen.doubt("")
}

// ListAll is List with the helpers of each guest: what is in its control group beside QEMU, and the children of that,
// which may have begun before libvirt put their parent there. Without control groups of guests no helper is found.
func (h Host) ListAll(ctx context.Context) ([]Process, error) {
	seen := h.scan(ctx)
	return append(seen.found, seen.helpers()...), seen.doubt("")
}

// sighting is one scan of the processes.
type sighting struct {
	found   []Process
	looks   map[int]look // all that were looked at, by number
	doubts  []doubt
	problem error // why some processes were not seen at all
}

// doubt is why a guest may have a process that is not among those found, nil
// where it has none for certain. An empty name is for any guest.
func (s sighting) doubt(guest string) error {
	if s.problem != nil {
		return s.problem
	}
	for _, d := range s.doubts {
		if d.mayConcern(guest) {
			return fmt.Errorf("%w: process %d: %w", ErrIncomplete, d.pid, d.why)
		}
	}
	return nil
}

// Find returns the processes of one guest, normally none or one. uuid may be empty. Where
// a process has that UUID only such are returned; else those of that name are.
// Errors are those of [Host.List], without those that can only concern other guests.
func (h Host) Find(ctx context.Context, name, uuid string) ([]Process, error) {
	seen := h.scan(ctx)
	honest := slices.DeleteFunc(seen.found, func(p Process) bool { return h.isDenied(p, name, uuid) })
	return match(honest, name, uuid), seen.doubt(name)
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

// ProcDir is where the proc file system is.
func (h Host) ProcDir() string { return cmp.Or(h.Proc, defaultProc) }

func (h Host) run() string { return cmp.Or(h.Run, defaultRun) }

func (h Host) etc(file string) string { return filepath.Join(cmp.Or(h.Etc, defaultEtc), file) }

// scan looks at every process. It first judges whose each one is, and reads nothing else of a process that is not
// libvirt's. The command lines of libvirt's are read in parallel, so that one that blocks delays no other.
func (h Host) scan(ctx context.Context) (s sighting) {
	var looks []look
	var unread error
	s.looks = map[int]look{}
	err := each(ctx, h, h.newJudge().look, func(pid int, l look, err error) {
		s.looks[pid] = l
		switch {
		case l.ours:
			l.read = h.beginRead(pid, l.stat)
			looks = append(looks, l)
		case errors.Is(err, errStuck):
			s.doubts = append(s.doubts, doubt{pid: pid, machine: l.group.machine, files: l.files, why: err})
		case err != nil && !gone(err):
			unread = cmp.Or(unread, fmt.Errorf("%w: process %d: %w", ErrIncomplete, pid, err))
		}
	})
	if s.problem = cmp.Or(err, unread); err != nil {
		return s
	}
	wait := waiter{time.Now()}
	for _, l := range looks {
		cmdline, err := wait.await(ctx, l.read)
		if ctx.Err() != nil {
			s.problem = fmt.Errorf("%w: %w", ErrIncomplete, context.Cause(ctx))
			return s
		}
		s.add(ctx, h, l, cmdline, err)
	}
	return s
}

// beginsQEMU reports whether a process without a command line is executing a QEMU: execve(2) gives it the file before
// the name and the command line, and may wait for storage between them.
func (h Host) beginsQEMU(l look) bool {
	file, err := h.executes(l.pid)
	return err == nil && !isHelper(l.stat.comm) && isEmulator(file)
}

// look is one process. Of one that is libvirt's the command line is being read.
type look struct {
	pid   int
	ours  bool // it is libvirt's
	stat  procStat
	group group
	files []string // the guests whose pid files name it
	read  *reading
}

// mayBe reports whether the process may be that of the guest that its command line names; empty is no name. A guest
// that has broken out into its QEMU can change the command line, but neither the control group nor libvirt's pid file.
func (l look) mayBe(guest string) bool {
	isNoted := len(l.files) == 0 || slices.Contains(l.files, guest)
	return guest == "" || mayBe(l.group.machine, guest) && (l.group.machine != "" || isNoted)
}

// isNoted reports whether libvirt noted twice that this is the QEMU of a guest: its control group has the name of its
// pid file. What works beside a guest has that group and a pid file of another name. What QEMU calls itself says
// nothing then: an emulator may have any name, and a guest that has broken out gives itself one.
func (l look) isNoted() bool {
	isMachines := func(guest string) bool { return mayBe(l.group.machine, guest) }
	return l.group.machine != "" && slices.ContainsFunc(l.files, isMachines)
}

// add reports one process which guest's it is.
func (s *sighting) add(ctx context.Context, h Host, l look, cmdline []byte, err error) {
	if gone(err) {
		return
	}
	id, isGuest := parseCmdline(cmdline)
	isGuest = isGuest && err == nil
	if isGuest && l.mayBe(id.name) {
		p := Process{PID: l.pid, Name: id.name, UUID: id.uuid, StartTime: l.stat.start}
		p.Incoming = id.incoming && !h.resumed(p)
		s.found = append(s.found, p)
		return
	}
	why := unrecognised(l.stat.comm, cmdline, err, len(l.files) > 0)
	switch {
	case why == nil && len(cmdline) == 0 && h.beginsQEMU(l):
		why = errStarting
	case isGuest:
		why = errDisguised
	case why == nil && l.isNoted():
		why = errUnrecognised
	}
	if why == nil {
		return
	}
	now, err := h.statNow(ctx, l.pid)
	if gone(err) || err == nil && (now.dead() || now.start != l.stat.start) {
		return // it ended while we looked
	}
	d := doubt{pid: l.pid, machine: l.group.machine, files: l.files, why: why}
	if p, isKnown := h.known(l, d); isKnown {
		s.found = append(s.found, p)
		return
	}
	s.doubts = append(s.doubts, d)
}

// known reports whether all else names the guest of a QEMU whose command line cannot be read: its control group,
// libvirt's pid file, and the status file, which says that the guest runs in this process.
func (h Host) known(l look, d doubt) (Process, bool) {
	isQEMU := errors.Is(d.why, errBlocked) && isEmulator(l.stat.comm)
	if !isQEMU || d.machine == "" || len(d.files) != 1 || !mayBe(d.machine, d.files[0]) {
		return Process{}, false
	}
	p := Process{PID: l.pid, Name: d.files[0], StartTime: l.stat.start}
	return p, h.resumed(p)
}

// each asks a question about every process, and tells f the answers. A process about which nothing can be told has the
// error errStuck. An error, which is [ErrIncomplete], says that there may be other processes.
func each[T any](ctx context.Context, h Host, question func(pid int, d depth) (T, error),
	f func(pid int, answer T, err error)) error {
	pids, err := h.pids()
	if err != nil {
		return err
	}
	type answer struct {
		pid   int
		value T
		err   error
	}
	answers, left := ask(ctx, h, aboutProcess, pids, func(pid int, d depth) answer {
		value, err := question(pid, d)
		return answer{pid, value, err}
	})
	for _, a := range answers {
		f(a.pid, a.value, a.err)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", ErrIncomplete, context.Cause(ctx))
	}
	for _, pid := range left {
		f(pid, *new(T), errStuck)
	}
	return h.SeesAll()
}

func (h Host) path(pid int, file string) string {
	return filepath.Join(h.ProcDir(), strconv.Itoa(pid), file)
}

func (h Host) stat(pid int) (procStat, error) {
	raw, err := readSome(h.path(pid, "stat"), maxStat)
	if err != nil {
		return procStat{}, err
	}
	return parseStat(raw)
}

// gone reports that a read failed because the process ended: open says ENOENT,
// a read of an open file says ESRCH.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH)
}
