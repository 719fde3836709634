package hostproc

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

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

// parseStat reads one line of /proc/PID/stat. The program's name stands in
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
		return procStat{}, errors.New("parse stat: the state is no letter")
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
		kernel: number(9, "flags")&kernelThread != 0, threads: int(number(20, "threads")), start: number(22, "start time"),
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
