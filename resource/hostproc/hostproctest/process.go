package hostproctest

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Process is one process as the kernel shows it. The zero value of each field but PID is useful: a process of root's,
// at the root of the control groups, without a command line, that process 1 has started.
type Process struct {
	PID     int
	Comm    string // the kernel's name of the program
	State   byte   // 0 is S, it sleeps
	Parent  int    // 0 is 1
	Start   string // clock ticks after boot, empty is 0
	User    int    // as which it runs, real and effective
	Nested  bool   // it is in a PID namespace below
	Cgroup  string // the content of its file cgroup
	Cmdline []string
	Exe     string // the file that it executes; empty is one that cannot be told
}

// Write puts the process into the directory proc, in place of one that was there. Errors are those of the file system.
func (p Process) Write(proc string) error {
	dir := filepath.Join(proc, strconv.Itoa(p.PID))
	err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755))
	status := fmt.Sprintf("Name:\t%s\nUid:\t%d\t%d\t%d\t%d\nNSpid:\t%d", p.Comm, p.User, p.User, p.User, p.User, p.PID)
	if p.Nested {
		status += "\t1"
	}
	args := ""
	for _, arg := range p.Cmdline {
		args += arg + "\x00"
	}
	for name, text := range map[string]string{
		"stat": fmt.Sprintf("%d (%s) %c %d 1 1 0 -1 0%s20 0 1 0 %s 0\n", p.PID, p.Comm, cmp.Or(p.State, 'S'),
			cmp.Or(p.Parent, 1), strings.Repeat(" 0", 8)+" ", cmp.Or(p.Start, "0")),
		"status":  status + "\n",
		"comm":    p.Comm + "\n",
		"cgroup":  cmp.Or(p.Cgroup, "0::/\n"),
		"cmdline": args,
	} {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	if p.Exe != "" {
		err = errors.Join(err, os.Symlink(p.Exe, filepath.Join(dir, "exe")))
	}
	return err
}
