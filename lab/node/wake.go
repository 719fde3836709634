package node

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// wakeEvery is how often a node is searched for what keeps it from going down.
const wakeEvery = time.Second

// keepAwake calls wake until done is closed.
func keepAwake(done <-chan struct{}) {
	tick := time.NewTicker(wakeEvery)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			wake("/proc")
		}
	}
}

// wake continues every nsenter(1) that has stopped although its child is dead.
//
// A node's shutdown stops all of its processes before it kills them. An nsenter
// sees that its child is stopped and stops itself as well; then nobody reaps the
// child, and the kernel keeps the node's process namespace, and with it the node,
// until somebody does.
func wake(proc string) {
	paths, err := filepath.Glob(filepath.Join(proc, "[0-9]*"))
	if err != nil {
		return
	}
	for _, path := range paths {
		if name, state := condition(path); name != "nsenter" || state != "T" || !bereaved(proc, path) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(path)); err == nil {
			_ = unix.Kill(pid, unix.SIGCONT) // it may have ended by itself
		}
	}
}

// bereaved reports whether the process at path has a dead child.
func bereaved(proc, path string) bool {
	lists, err := filepath.Glob(filepath.Join(path, "task", "*", "children"))
	if err != nil {
		return false
	}
	for _, list := range lists {
		children, err := os.ReadFile(list)
		if err != nil {
			continue
		}
		for child := range strings.FieldsSeq(string(children)) {
			if _, state := condition(filepath.Join(proc, child)); state == "Z" {
				return true
			}
		}
	}
	return false
}

// condition is a process's name and state, from proc_pid_stat(5); empty when
// there is no such process.
func condition(path string) (name, state string) {
	text, err := os.ReadFile(filepath.Join(path, "stat"))
	if err != nil {
		return "", ""
	}
	return parseCondition(string(text))
}

// parseCondition reads the second and third field of proc_pid_stat(5). The
// name, in parentheses, may hold spaces and parentheses.
func parseCondition(stat string) (name, state string) {
	open, end := strings.Index(stat, "("), strings.LastIndex(stat, ") ")
	if open < 0 || end < open || end+2 >= len(stat) {
		return "", ""
	}
	return stat[open+1 : end], stat[end+2 : end+3]
}
