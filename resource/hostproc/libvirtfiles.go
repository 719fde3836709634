package hostproc

import (
	"encoding/xml"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// pidFile is a file NAME.pid of libvirt's.
type pidFile struct {
	name    string // that of the guest whose QEMU it is; helpers beside QEMU have names such as 1-vm1-pr-helper0
	pid     int
	written time.Time
	locker  int // who holds its lock, 0 for nobody
}

// pidFiles returns the files NAME.pid that libvirt keeps, by the number in them. Files of processes that have ended are
// common, so a number alone proves nothing. A file that another user than root and this program's may write is ignored.
//
// Source: qemuProcessLaunch, qemuProcessBuildPRHelperPidfilePath.
func (h Host) pidFiles() map[int][]pidFile {
	dir, err := h.openRun()
	if err != nil {
		return nil
	}
	defer func() { _ = dir.Close() }()
	entries, err := fs.ReadDir(dir.FS(), ".")
	if err != nil {
		return nil
	}
	files := map[int][]pidFile{}
	for _, e := range entries {
		if f, ok := readPIDFile(dir, e.Name()); ok {
			files[f.pid] = append(files[f.pid], f)
		}
	}
	return files
}

// openRun opens libvirt's directory, if only root and ourselves may write to it.
func (h Host) openRun() (*os.Root, error) {
	dir, err := os.OpenRoot(h.run())
	if err != nil {
		return nil, err
	}
	info, err := dir.Stat(".")
	if err == nil && !isOurs(info) {
		err = fmt.Errorf("%q is not a directory that only root may write", h.run())
	}
	if err != nil {
		_ = dir.Close()
		return nil, err
	}
	return dir, nil
}

// isOurs reports whether only root, and the user that this program runs as, may write to a file or directory.
func isOurs(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	isTrusted := ok && (stat.Uid == 0 || int(stat.Uid) == os.Geteuid())
	return isTrusted && info.Mode().Perm()&0o022 == 0
}

// openOurs opens a regular file of a directory, if only root and ourselves may write to it.
func openOurs(dir *os.Root, name string) (*os.File, fs.FileInfo, error) {
	file, err := dir.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := file.Stat()
	if err == nil && (!info.Mode().IsRegular() || !isOurs(info)) {
		err = fmt.Errorf("%q is not a regular file that only root may write", name)
	}
	if err != nil {
		_ = file.Close()
		return nil, nil, err
	}
	return file, info, nil
}

// readPIDFile reads a pid file. An unreadable or malformed one is no evidence.
func readPIDFile(dir *os.Root, name string) (f pidFile, ok bool) {
	guest, isPID := strings.CutSuffix(name, ".pid")
	if !isPID {
		return f, false
	}
	file, info, err := openOurs(dir, name)
	if err != nil {
		return f, false
	}
	defer func() { _ = file.Close() }()
	raw, err := io.ReadAll(io.LimitReader(file, 64))
	pid, perr := strconv.Atoi(strings.TrimSpace(string(raw)))
	return pidFile{guest, pid, info.ModTime(), locker(file)}, err == nil && perr == nil && pid > 0
}

// locker is the process that holds the write lock of a pid file, 0 for none. A user who may only read the file
// cannot get a write lock (fcntl(2)).
func locker(file *os.File) (pid int) {
	conn, err := file.SyscallConn()
	if err != nil {
		return 0
	}
	lock := unix.Flock_t{Type: unix.F_RDLCK}
	cerr := conn.Control(func(fd uintptr) { err = unix.FcntlFlock(fd, unix.F_GETLK, &lock) })
	if cerr != nil || err != nil || lock.Type != unix.F_WRLCK {
		return 0
	}
	return int(lock.Pid)
}

// rounding is how much later than its pid file a process may seem to have begun: the kernel rounds both times, and a
// leap second may lie between them.
const rounding = time.Second

// names reports whether a pid file is about the process of its number that began at that time, and not about an earlier
// one. QEMU holds the file's lock as long as it lives (virCommandSetPidFile, since libvirt 6.2), so that a clock that
// was set does not matter. Without the lock (an older libvirt, a QEMU that exits) the process must not be younger than
// the file.
func (f pidFile) names(began time.Time) bool {
	return f.locker == f.pid || !began.After(f.written.Add(rounding))
}

// ticks is how many clock ticks a second has in what the kernel tells programs (USER_HZ).
const ticks = 100

// Uptime is the time since the boot of this node, with the time in which the machine slept, as [Process.Began] counts
// it.
func Uptime() time.Duration {
	var up unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &up) // which Linux has since 2.6.39
	return time.Duration(up.Nano())
}

// bootTime is when this node was booted, by its clock as it is now.
func bootTime() time.Time {
	return time.Now().Add(-Uptime())
}

// sinceBoot is how long after the boot so many clock ticks are over.
func sinceBoot(n uint64) time.Duration { return time.Duration(n) * time.Second / ticks }

// began is when a process began.
func (s procStat) began(boot time.Time) time.Time {
	return boot.Add(sinceBoot(s.start))
}

// filed returns the guests whose pid files are about a process.
func filed(files []pidFile, stat procStat, boot time.Time) (guests []string) {
	for _, f := range files {
		if f.names(stat.began(boot)) {
			guests = append(guests, f.name)
		}
	}
	return guests
}

// maxStatusFile is how much of a status file is read.
const maxStatusFile = 4 << 20

// resumed reports whether libvirt noted that the guest runs in this very process.
// libvirt keeps NAME.xml beside the pid file and rewrites it at each change of state;
// QEMU's command line says -incoming for ever.
func (h Host) resumed(p Process) bool {
	status, err := h.status(p.Name, false)
	return err == nil && status.state == "running" && status.pid == p.PID
}

// isDenied reports whether a process claims the UUID of the guest that is searched for, under another name, while
// libvirt's status file has another UUID for the process. The process of a renamed guest is not denied.
func (h Host) isDenied(p Process, guest, uuid string) bool {
	if uuid == "" || p.Name == guest || !strings.EqualFold(p.UUID, uuid) {
		return false
	}
	status, err := h.status(p.Name, true)
	return err == nil && status.pid == p.PID && status.uuid != "" && !strings.EqualFold(status.uuid, uuid)
}

// status reads libvirt's status file of a guest, and its UUID only where that is wanted: it comes late in the file.
func (h Host) status(guest string, uuid bool) (domStatus, error) {
	if guest == "" || strings.ContainsRune(guest, '/') {
		return domStatus{}, fmt.Errorf("%q has no status file", guest)
	}
	dir, err := h.openRun()
	if err != nil {
		return domStatus{}, err
	}
	defer func() { _ = dir.Close() }()
	file, _, err := openOurs(dir, guest+".xml")
	if err != nil {
		return domStatus{}, err
	}
	defer func() { _ = file.Close() }()
	return parseStatus(xml.NewDecoder(io.LimitReader(file, maxStatusFile)), uuid)
}

// domStatus is what is needed of libvirt's status file:
// <domstatus state='running' reason='booted' pid='4711'>…<domain><name>…</name><uuid>…</uuid>….
type domStatus struct {
	state string
	pid   int
	uuid  string
}

func parseStatus(d *xml.Decoder, uuid bool) (s domStatus, err error) {
	var path []string
	for {
		token, err := d.Token()
		if err != nil {
			return s, err
		}
		switch t := token.(type) {
		case xml.StartElement:
			path = append(path, t.Name.Local)
			if len(path) == 1 {
				if s, err = statusHead(t); err != nil || !uuid {
					return s, err
				}
			}
		case xml.EndElement:
			path = path[:len(path)-1]
		case xml.CharData:
			if slices.Equal(path, []string{"domstatus", "domain", "uuid"}) {
				s.uuid = strings.TrimSpace(string(t))
				return s, nil
			}
		}
	}
}

func statusHead(element xml.StartElement) (s domStatus, err error) {
	if element.Name.Local != "domstatus" {
		return s, fmt.Errorf("status file begins with %q", element.Name.Local)
	}
	for _, a := range element.Attr {
		switch a.Name.Local {
		case "state":
			s.state = a.Value
		case "pid":
			s.pid, err = strconv.Atoi(a.Value)
		}
	}
	return s, err
}
