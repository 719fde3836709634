package hostproc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// errStuck is of a process about which a read of its files does not return.
var errStuck = errors.New("the kernel does not answer about it for now, as in a storage stall")

// depth is how much is read of a process. What blocks at one depth is asked once more at the next.
type depth int

const (
	// whole may wait for an execve(2) of the process: auxv takes the kernel's exec_update_lock, and newer kernels take
	// it for stat, exe and fd too (seen with 6.18). execve holds it while it closes files (do_close_on_exec) and gives
	// up the memory of the program before. A file system whose server is cut off answers neither. A program that has a
	// file of it open and starts another one is enough.
	whole depth = iota
	// unlocked is without auxv. Where stat takes no lock, it takes a reference to the process's memory: when the
	// process ends meanwhile, the reader is the last and takes the memory apart (mmput), and waits for what is under
	// way to a dead storage. That hits one reader of a process, not the next.
	unlocked
	// outside has only what the kernel tells without that lock: status, cgroup and cmdline. A process of which no more
	// can be read is in execve, and runs neither the program before nor the next one.
	outside
)

// aboutProcess is what all questions are about that read other files at each depth: what blocks one of them at a depth
// blocks the others.
const aboutProcess = "process"

// impatience is how long a round waits for answers that the next one can do without.
const impatience = patience / 4

// maxStuck bounds the calls of this program that do not return; each holds a thread.
const maxStuck = 256

// stuckCall is a call that nobody waits for any more. The inode is of the process's directory: the file that is being
// read keeps it, and another process that gets the number gets another.
type stuckCall struct {
	dir   string
	inode uint64
	what  string
	depth depth
}

// stuckCalls are those of this program, so that a process costs one goroutine at most for each depth of each question,
// however often it is looked at.
type stuckCalls struct {
	mu    sync.Mutex
	calls map[stuckCall]int
	count int
}

var stuck stuckCalls

func (s *stuckCalls) add(c stuckCall, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls == nil {
		s.calls = map[stuckCall]int{}
	}
	s.count += n
	if s.calls[c] += n; s.calls[c] == 0 {
		delete(s.calls, c)
	}
}

// has reports whether a call is stuck, or no other may be begun. of is only called where any is stuck.
func (s *stuckCalls) has(of func() stuckCall) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count >= maxStuck || s.count > 0 && s.calls[of()] > 0
}

func (h Host) stuckCall(pid int, what string, d depth) stuckCall {
	c := stuckCall{dir: h.path(pid, ""), what: what, depth: d}
	if info, err := os.Lstat(c.dir); err == nil {
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			c.inode = stat.Ino
		}
	}
	return c
}

// round asks one question about several processes, at one depth. Its goroutines go through the processes one by one.
// While they get no answers, more of them begin.
type round[T any] struct {
	host  Host
	what  string
	depth depth
	pids  []int
	f     func(pid int, d depth) T

	mu       sync.Mutex
	begun    int
	over     bool
	answers  map[int]T         // by the index in pids
	stuck    map[int]stuckCall // those that were given up
	finished chan struct{}     // closed when all have answered
}

// pace is how often a scan looks whether it gets on.
const pace = 20 * time.Millisecond

// ask puts a question about processes, in goroutines of its own, so that a read that blocks holds up neither the caller
// nor the answers about other processes. It returns the answers in the order of pids, and those processes about which
// there is none at any depth. All of them together are waited for at each depth, for patience after the last answer,
// and not where an earlier call is stuck: that is skipped. It returns at the end of ctx.
func ask[T any](ctx context.Context, h Host, what string, pids []int, f func(pid int, d depth) T) ([]T, []int) {
	known := make(map[int]T, len(pids))
	left := pids
	for d := whole; d <= outside && len(left) > 0 && ctx.Err() == nil; d++ {
		r := &round[T]{host: h, what: what, depth: d, f: f, answers: map[int]T{}, stuck: map[int]stuckCall{},
			finished: make(chan struct{})}
		var skipped []int
		for _, pid := range left {
			if stuck.has(func() stuckCall { return h.stuckCall(pid, what, d) }) {
				skipped = append(skipped, pid)
			} else {
				r.pids = append(r.pids, pid)
			}
		}
		left = append(r.run(ctx, known), skipped...)
	}
	var answers []T
	for _, pid := range pids {
		if a, ok := known[pid]; ok {
			answers = append(answers, a)
		}
	}
	return answers, left
}

// run adds the answers to known, by process, and returns the processes that are left.
func (r *round[T]) run(ctx context.Context, known map[int]T) (left []int) {
	if len(r.pids) > 0 {
		go r.work()
		r.wait(ctx)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	for i, pid := range r.pids {
		a, answered := r.answers[i]
		if answered {
			known[pid] = a
			continue
		}
		left = append(left, pid)
		if i < r.begun {
			r.stuck[i] = r.host.stuckCall(pid, r.what, r.depth)
			stuck.add(r.stuck[i], 1)
		}
	}
	return left
}

// wait returns when all have answered, none has for as long as patience, or ctx ends.
func (r *round[T]) wait(ctx context.Context) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	last, had, limit := time.Now(), 0, patience
	if r.depth == unlocked {
		limit = impatience
	}
	for {
		select {
		case <-r.finished:
			return
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		r.mu.Lock()
		got, more := len(r.answers), r.begun < len(r.pids)
		r.mu.Unlock()
		switch {
		case got > had:
			last, had = time.Now(), got
		case time.Since(last) >= limit:
			return
		case more:
			go r.work()
		}
	}
}

// work asks about one process after the other, until the round is over.
func (r *round[T]) work() {
	for {
		r.mu.Lock()
		i := r.begun
		if r.over || i == len(r.pids) {
			r.mu.Unlock()
			return
		}
		r.begun++
		r.mu.Unlock()
		answer := r.f(r.pids[i], r.depth)
		r.mu.Lock()
		if call, given := r.stuck[i]; given {
			stuck.add(call, -1)
		} else if r.answers[i] = answer; len(r.answers) == len(r.pids) {
			close(r.finished)
		}
		r.mu.Unlock()
	}
}

// askOne puts a question about one process; errStuck is that there is no answer.
func askOne[T any](ctx context.Context, h Host, what string, pid int, f func(d depth) (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	answers, _ := ask(ctx, h, what, []int{pid}, func(_ int, d depth) answer {
		value, err := f(d)
		return answer{value, err}
	})
	switch cause := context.Cause(ctx); {
	case len(answers) > 0:
		return answers[0].value, answers[0].err
	case cause != nil:
		return *new(T), fmt.Errorf("%w: %w", errStuck, cause)
	}
	return *new(T), errStuck
}

// Within calls f, which reads files of a process, and returns what it returns. Where f blocks, it is left behind after
// a second, or at the end of ctx, with an error, and not called again for this process before it has returned. The name
// of the call is what, which must not be that of another f.
func Within[T any](ctx context.Context, h Host, what string, pid int, f func() (T, error)) (T, error) {
	return askOne(ctx, h, what, pid, func(d depth) (T, error) {
		if d != whole {
			return *new(T), errStuck
		}
		return f()
	})
}

// statNow is the file stat of a process, for callers that are no round's. A first reader that has to take the process's
// memory apart is left to that, and another one reads.
func (h Host) statNow(ctx context.Context, pid int) (procStat, error) {
	return askOne(ctx, h, "stat", pid, func(depth) (procStat, error) { return h.stat(pid) })
}

// pids are the numbers of all processes. An error is [ErrIncomplete].
func (h Host) pids() (pids []int, err error) {
	entries, err := os.ReadDir(h.ProcDir())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrIncomplete, err)
	}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}
