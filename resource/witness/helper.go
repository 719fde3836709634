package witness

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Helper is what a program that works for a daemon looks like to the kernel.
type Helper struct {
	Program string                   // the last part of its file's name, such as "libxl-save-helper"
	Parents []string                 // what started it, as the kernel calls that: at most 15 bytes (comm, proc(5))
	Suits   func(args []string) bool // of its arguments, the first of which is its name
}

// Helpers returns the processes that look so: of them PID and StartTime are known. With an error, which is
// [ErrIncomplete], there may be others. It returns at the end of ctx, as [Host.List] does.
func (h Host) Helpers(ctx context.Context, wanted Helper) ([]Process, error) {
	type answer struct {
		found []Process
		err   error
	}
	done := make(chan answer, 1)
	go func() {
		var a answer
		a.err = h.each(ctx, func(pid int) {
			if p, ok := h.helper(pid, wanted); ok {
				a.found = append(a.found, p)
			}
		})
		done <- a
	}()
	select {
	case a := <-done:
		return a.found, a.err
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrIncomplete, context.Cause(ctx))
	}
}

// helper looks at one process, first at what the kernel tells without the process's memory. One that has ended meanwhile
// is none.
func (h Host) helper(pid int, wanted Helper) (Process, bool) {
	program, err := os.Readlink(h.path(pid, "exe"))
	if err != nil || strings.TrimSuffix(filepath.Base(program), " (deleted)") != wanted.Program { // as after an upgrade
		return Process{}, false
	}
	stat, err := h.stat(pid)
	if err != nil || stat.dead() {
		return Process{}, false
	}
	parent, err := h.stat(stat.parent)
	if err != nil || !slices.Contains(wanted.Parents, parent.comm) {
		return Process{}, false
	}
	raw, err := os.ReadFile(h.path(pid, "cmdline"))
	if err != nil || !wanted.Suits(arguments(raw)) {
		return Process{}, false
	}
	return Process{PID: pid, StartTime: stat.start}, true
}
