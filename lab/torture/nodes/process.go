package nodes

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/lab/node"
	"github.com/vmferry/vmferry/lab/torture"
)

// process is a process of a node, as it is seen within the lab's namespaces.
type process struct {
	torture.Process
	node string
	args []string
}

// program is the name of what the process runs.
func (p process) program() string { return filepath.Base(p.args[0]) }

func (p process) hasArg(arg string) bool { return slices.Contains(p.args[1:], arg) }

// processes lists those of a node below proc, where proc(5) is mounted. Those that end meanwhile are left out.
func processes(proc, name string) ([]process, error) {
	dirs, err := filepath.Glob(filepath.Join(proc, "[0-9]*"))
	if err != nil {
		return nil, err
	}
	var found []process
	for _, dir := range dirs {
		cgroup, err := os.ReadFile(filepath.Join(dir, "cgroup"))
		if err != nil || node.Of(string(cgroup)) != name {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		pid, pidErr := strconv.Atoi(filepath.Base(dir))
		start, startErr := startOf(dir)
		if errors.Join(err, pidErr, startErr) != nil || len(text) == 0 {
			continue
		}
		found = append(found, process{torture.Process{PID: pid, Start: start}, name,
			strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")})
	}
	return found, nil
}

// startOf reads field 22 of proc_pid_stat(5). The name, field 2, may hold spaces and parentheses.
func startOf(dir string) (uint64, error) {
	text, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 20 {
		return 0, fmt.Errorf("read %s/stat: %d fields", dir, len(fields))
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

// victims are what the kinds of kills name.
var victims = map[torture.Kind]func(process) bool{
	torture.KillPacemakerd: program("pacemakerd"),
	torture.KillCorosync:   program("corosync"),
	torture.KillLibvirt:    program("libvirtd", "virtqemud"),
	torture.KillVmferryd:   program("vmferryd"),
	torture.KillGuard:      func(p process) bool { return isGuard(p) && !p.hasArg("--second") && !p.hasArg("--move") },
	torture.KillSecond:     func(p process) bool { return isGuard(p) && p.hasArg("--second") },
	torture.KillPair:       func(p process) bool { return isGuard(p) && !p.hasArg("--move") },
}

func program(names ...string) func(process) bool {
	return func(p process) bool { return slices.Contains(names, p.program()) }
}

// isGuard knows the guard's second process too: it is started as /proc/self/exe where its name is not set.
func isGuard(p process) bool {
	return p.program() == "vmferry-guard" || p.hasArg("--second") && p.program() == "exe"
}

// movesGuest knows the agent that carries a live migration out.
func movesGuest(p process) bool {
	return slices.Contains([]string{"Domain", "agent", "vmferry-agent"}, p.program()) && p.hasArg("migrate_to")
}

// kill sends SIGKILL to the processes. One that has ended is none.
func kill(some []process) error {
	for _, p := range some {
		if err := unix.Kill(p.PID, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("kill %q on %s: %w", p.program(), p.node, err)
		}
	}
	return nil
}
