package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// need is a program that the lab calls, and its Debian package.
type need struct{ program, pkg string }

// needs are those of every lab.
var needs = []need{
	{"systemd-nspawn", "systemd-container"},
	{"mmdebstrap", "mmdebstrap"},
	{"unshare", "util-linux"},
	{"nsenter", "util-linux"},
	{"xz", "xz-utils"},
	{"zstd", "zstd"},
}

// CheckHost says what this machine lacks to hold a lab, and what to type.
func CheckHost() error { return checkHost(nil) }

// checkHost is CheckHost for a lab that needs more than every lab does.
func checkHost(more []need) error {
	if os.Geteuid() != 0 {
		return errors.New("the lab boots real nodes and needs root: run it with sudo")
	}
	var missing []string
	for _, need := range slices.Concat(needs, more) {
		if _, err := exec.LookPath(need.program); err != nil {
			missing = append(missing, need.pkg)
		}
	}
	missing = slices.Compact(missing)
	if len(missing) > 0 {
		return fmt.Errorf("the lab needs more programs: apt-get install --no-install-recommends %s", strings.Join(missing, " "))
	}
	return nil
}

// startTime is when a process was started, in clock ticks after the
// machine's boot: with the process id it names a process permanently.
func startTime(pid int) (uint64, error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, err
	}
	return parseStartTime(string(text))
}

// parseStartTime reads field 22 of proc_pid_stat(5). The command's name, the
// second field, may hold spaces and parentheses.
func parseStartTime(stat string) (uint64, error) {
	_, rest, ok := cutLast(stat, ") ")
	if !ok {
		return 0, errors.New("read a process's start time: malformed stat line")
	}
	fields := strings.Fields(rest)
	const after = 22 - 3 // fields from the third on are in rest
	if len(fields) <= after {
		return 0, errors.New("read a process's start time: short stat line")
	}
	start, err := strconv.ParseUint(fields[after], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read a process's start time: %w", err)
	}
	return start, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// waitExit waits until the process behind a pidfd has ended.
func waitExit(fd int, limit time.Duration) error {
	deadline := time.Now().Add(limit)
	for {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(poll, int(time.Until(deadline).Milliseconds()))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait for the lab's supervisor: %w", err)
		}
		if n == 0 {
			return fmt.Errorf("the lab's supervisor did not end within %s", limit)
		}
		return nil
	}
}
