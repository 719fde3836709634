package pacemaker

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

// daemonAlive says whether any of Pacemaker's daemons lives on this node.
// pacemakerd may have crashed and be about to be started again while the
// others carry on, so each counts; their names all begin alike (the kernel
// keeps 15 characters: "pacemaker-contr"). Daemons in another PID namespace,
// such as pacemaker-remoted inside a bundle's container, are not this node's.
func daemonAlive(proc string) (bool, error) {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return false, fmt.Errorf("look for pacemaker's daemons: %w", err)
	}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		alive, err := isDaemon(filepath.Join(proc, e.Name(), "status"))
		if err != nil || alive {
			return alive, err
		}
	}
	return false, nil
}

// isDaemon reads one /proc/PID/status (proc_pid_status(5)), which anyone may
// read, unlike the links in /proc/PID/ns. A process that ended meanwhile is
// none of ours; one that cannot be read makes the question unanswerable.
func isDaemon(path string) (bool, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for pacemaker's daemons: %w", err)
	}
	field := statusFields(string(text))
	dead := strings.HasPrefix(field["State"], "Z") || strings.HasPrefix(field["State"], "X")
	nested := len(strings.Fields(field["NSpid"])) > 1
	return strings.HasPrefix(field["Name"], "pacemaker") && !dead && !nested, nil
}

func statusFields(text string) map[string]string {
	field := make(map[string]string)
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(line, ":"); ok {
			field[key] = strings.TrimSpace(value)
		}
	}
	return field
}
