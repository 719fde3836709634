package heartbeat

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/vmferry/vmferry/resource/hostproc"
)

// comm is the daemon's name in the process table.
const comm = "heartbeat"

// daemonAlive says whether the process lives that the daemon's PID file names.
// The daemon writes the file before it does anything else and refuses to start
// a second time next to a living one. The name, and that root runs it, tell it from whoever got its
// number after it died.
func daemonAlive(pidFile string, h hostproc.Host) (bool, error) {
	text, err := os.ReadFile(pidFile)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for heartbeat's daemon: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 0 {
		return false, fmt.Errorf("look for heartbeat's daemon: %s names no process: %.40q", pidFile, text)
	}
	alive, err := h.IsDaemon(pid, func(program string) bool { return program == comm }, 0)
	if err == nil && !alive {
		err = h.SeesAll()
	}
	if err != nil {
		return false, fmt.Errorf("look for heartbeat's daemon: process %d: %w", pid, err)
	}
	return alive, nil
}
