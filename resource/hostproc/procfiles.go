package hostproc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// The limits of what is read of one file, in bytes. A process chooses the length of its own command line;
// execve(2) allows six MiB.
const (
	maxStat    = 4 << 10
	maxStatus  = 2 << 20 // a process may be in 65,536 groups
	maxCmdline = 8 << 20
	maxConfig  = 1 << 20
)

// owner is whose a process is, of /proc/PID/status (proc_pid_status(5)). The numbers are those of this program's user
// namespace, so that the root of a namespace below is not 0.
type owner struct {
	real, effective int
	group           int    // the real one
	nested          bool   // it is in a PID namespace below this node's, as containers are
	name            string // comm
	parent          int
}

// parseOwner reads /proc/PID/status. The kernel escapes line breaks in the program's name there.
func parseOwner(raw []byte) (o owner, err error) {
	o.real = -1
	for line := range bytes.Lines(raw) {
		key, value, _ := bytes.Cut(line, []byte(":"))
		switch string(key) {
		case "Uid":
			var ids []int
			if ids, err = parseIDs(value, 2); err != nil {
				return o, fmt.Errorf("parse status: uid: %w", err)
			}
			o.real, o.effective = ids[0], ids[1]
		case "Gid":
			var ids []int
			if ids, err = parseIDs(value, 1); err != nil {
				return o, fmt.Errorf("parse status: gid: %w", err)
			}
			o.group = ids[0]
		case "Name":
			o.name = string(bytes.TrimSpace(value))
		case "PPid":
			o.parent, _ = strconv.Atoi(string(bytes.TrimSpace(value)))
		case "NSpid":
			o.nested = len(bytes.Fields(value)) > 1
		}
	}
	if o.real < 0 {
		return o, errors.New("parse status: no uid")
	}
	return o, nil
}

// parseIDs reads the first n numbers of users or groups.
func parseIDs(value []byte, n int) (ids []int, err error) {
	fields := strings.Fields(string(value))
	if len(fields) < n {
		return nil, fmt.Errorf("%d numbers, want %d", len(fields), n)
	}
	for _, f := range fields[:n] {
		id, ok := userNumber(f)
		if !ok {
			return nil, fmt.Errorf("%q is not a number", f)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// isOneOf reports whether both the real and the effective user are the same one of users. A set-user-ID program has
// root as its effective user, whoever starts it.
func (o owner) isOneOf(users []int) bool {
	return o.real == o.effective && slices.Contains(users, o.real)
}

// isUsers reports whether a user's set-user-ID program has become root altogether, where its file is hidden: such a
// program, as sudo(8) that waits for a password, keeps the real group of who started it, and root's own has root's.
func (o owner) isUsers() bool { return o.real == 0 && o.group != 0 }

func (h Host) owner(pid int) (owner, error) {
	raw, err := readSome(h.path(pid, "status"), maxStatus)
	if err != nil {
		return owner{}, err
	}
	return parseOwner(raw)
}

// executes is the base name of the file that a process executes. An error is that of a process that exits, or
// fs.ErrPermission for one that this program may not inspect (ptrace(2), PTRACE_MODE_READ_FSCREDS). The file itself is
// not looked at, since its file system may be that of a dead server.
func (h Host) executes(pid int) (name string, err error) {
	target, err := os.Readlink(h.path(pid, "exe"))
	// Deleted: as after an upgrade.
	return strings.TrimSuffix(filepath.Base(target), " (deleted)"), err
}

// program is the file that a process executes, and whether it is set-user-ID or has capabilities: then any user may
// have chosen the process's name and arguments. Errors are those of executes. The kernel notes at execve(2) whether
// rights were gained, and who executed it (AT_SECURE and AT_UID, getauxval(3)). Also SELinux sets AT_SECURE, for each
// daemon that changes its domain; so it counts only where another user than root, and than the one that the process
// runs as, executed the file.
func (h Host) program(pid, user int) (name string, setuid bool, err error) {
	if name, err = h.executes(pid); err != nil {
		return "", false, err
	}
	auxv, _ := readSome(h.path(pid, "auxv"), maxAuxv)
	return name, hasGained(auxv, user), nil
}

// The entries of an auxiliary vector: AT_UID and AT_SECURE of the kernel's include/uapi/linux/auxvec.h, and the limit
// of a type.
const (
	atUID    = 11
	atSecure = 23
	maxAuxv  = 4 << 10
	maxType  = 1 << 16
)

// hasGained reports whether a process that runs as that user now got its rights from the file that it executes.
func hasGained(auxv []byte, user int) bool {
	secure, _ := auxiliary(auxv, atSecure)
	by, known := auxiliary(auxv, atUID)
	return secure != 0 && !(known && (by == 0 || by == uint64(user)))
}

// auxiliary reads an entry of /proc/PID/auxv: pairs of a type and a value, of the width of the program's own pointers.
func auxiliary(auxv []byte, kind uint64) (value uint64, ok bool) {
	width, order := 8, binary.NativeEndian
	if len(auxv) >= 8 && order.Uint64(auxv) > maxType {
		width = 4 // a program of 32 bits
	}
	number := func(b []byte) uint64 {
		if width == 4 {
			return uint64(order.Uint32(b))
		}
		return order.Uint64(b)
	}
	for entry := range slices.Chunk(auxv, 2*width) {
		if len(entry) == 2*width && number(entry) == kind {
			return number(entry[width:]), true
		}
	}
	return 0, false
}

// qemuUsers are the users as which the system's libvirt starts QEMU: root, and the one that qemu.conf names, or
// else those that distributions have for it.
//
// Source: virQEMUDriverConfigLoadSecurityEntry of qemu_conf.c, virGetUserID of virutil.c, the comments of qemu.conf.
func (h Host) qemuUsers() []int {
	names := []string{"libvirt-qemu", "qemu"}
	config, _ := readSome(h.etc("libvirt/qemu.conf"), maxConfig)
	if user, ok := setting(config, "user"); ok {
		names = []string{user}
	}
	users := []int{0}
	for _, name := range names {
		if uid, ok := h.UserID(name); ok {
			users = append(users, uid)
		}
	}
	return users
}

// setting is the value of a setting of libvirt's configuration files.
func setting(config []byte, name string) (value string, ok bool) {
	for line := range strings.Lines(string(config)) {
		key, rest, isSetting := strings.Cut(line, "=")
		if isSetting && strings.TrimSpace(key) == name {
			rest, _, _ = strings.Cut(rest, "#")
			value, ok = strings.Trim(strings.TrimSpace(rest), `"'`), true
		}
	}
	return value, ok
}

// UserID is the number of a user in /etc/passwd, where daemons have theirs; a directory service is not queried, since
// it may hang. A name that is not there is read as a number, and one with a plus sign always is (virGetUserID).
func (h Host) UserID(name string) (uid int, ok bool) {
	if number, plus := strings.CutPrefix(name, "+"); plus {
		return userNumber(number)
	}
	passwd, _ := readSome(h.etc("passwd"), maxConfig)
	for line := range strings.Lines(string(passwd)) {
		if fields := strings.Split(line, ":"); len(fields) > 2 && fields[0] == name {
			return userNumber(fields[2])
		}
	}
	return userNumber(name)
}

func userNumber(s string) (int, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return int(n), err == nil
}

// SessionUser is the user of a session whose libvirt a URI names by its socket.
func SessionUser(uri string) (uid int, ok bool) {
	u, err := url.Parse(uri)
	if err != nil || u.Path != "/session" {
		return 0, false
	}
	rest, below := strings.CutPrefix(u.Query().Get("socket"), "/run/user/")
	number, _, _ := strings.Cut(rest, "/")
	uid, ok = userNumber(number)
	return uid, below && ok
}

// readSome reads a file of the kernel's or of root's up to limit bytes, and leaves the rest.
func readSome(path string, limit int) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	var raw bytes.Buffer
	raw.Grow(min(limit, 2<<10)) // most fit
	if _, err := raw.ReadFrom(io.LimitReader(file, int64(limit))); err != nil {
		return nil, err
	}
	return raw.Bytes(), nil
}

// procStat is what is needed of /proc/PID/stat (proc_pid_stat(5)).
type procStat struct {
	comm    string
	state   byte
	parent  int
	threads int
	start   uint64 // clock ticks after boot; with the number it names a process permanently
	kernel  bool   // it is one of the kernel's own threads
}

// kernelThread is PF_KTHREAD of the kernel's include/linux/sched.h, among the flags of field 9.
const kernelThread = 0x00200000

// parseStat reads one line of /proc/PID/stat. The program's name is in
// brackets and may itself hold brackets, blanks and line breaks, as its owner likes, so the last one counts.
func parseStat(raw []byte) (_ procStat, err error) {
	from, to := bytes.IndexByte(raw, '('), bytes.LastIndexByte(raw, ')')
	if from < 0 || to < from {
		return procStat{}, errors.New("parse stat: no program name")
	}
	fields := strings.Fields(string(raw[to+1:])) // fields[0] is field 3 of proc_pid_stat(5)
	if len(fields) < 20 {
		return procStat{}, fmt.Errorf("parse stat: %d fields after the name, want 20", len(fields))
	}
	state := fields[0]
	if len(state) != 1 || !isLetter(state[0]) {
		return procStat{}, errors.New("parse stat: the state is not a letter")
	}
	number := func(field int, what string) (n uint64) {
		n, perr := strconv.ParseUint(fields[field-3], 10, 64)
		if perr != nil && err == nil {
			err = fmt.Errorf("parse stat: %s: %w", what, perr)
		}
		return n
	}
	s := procStat{
		comm: string(raw[from+1 : to]), state: state[0], parent: int(number(4, "parent")),
		kernel: number(9, "flags")&kernelThread != 0, threads: int(number(20, "threads")),
		start: number(22, "start time"),
	}
	if err != nil {
		return procStat{}, err
	}
	return s, nil
}

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

// dead reports whether nothing of the process executes any more: a zombie that
// only waits to be reaped, without threads that outlive their leader.
func (s procStat) dead() bool { return s.state == 'X' || s.state == 'Z' && s.threads <= 1 }
