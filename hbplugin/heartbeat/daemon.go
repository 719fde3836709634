package heartbeat

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// comm is the daemon's name in the process table.
const comm = "heartbeat"

// daemonAlive says whether the process lives that the daemon's PID file names.
// The daemon writes the file before it does anything else and refuses to start
// a second time next to a living one. The name tells it from whoever got its
// number after it died.
func daemonAlive(pidFile, proc string) (bool, error) {
	text, err := os.ReadFile(pidFile)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for heartbeat's daemon: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 0 {
		return false, fmt.Errorf("look for heartbeat's daemon: %s names no process: %q", pidFile, text)
	}
	stat, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "stat"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for heartbeat's daemon: %w", err)
	}
	return isDaemon(string(stat)), nil
}

// isDaemon reads proc_pid_stat(5): "PID (NAME) STATE …". A zombie is no daemon.
func isDaemon(stat string) bool {
	_, rest, _ := strings.Cut(stat, "(")
	name, rest, _ := strings.Cut(rest, ") ")
	return name == comm && rest != "" && !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}
