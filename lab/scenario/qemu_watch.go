package scenario

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vmferry/vmferry/lab/node"
)

// Watch looks at the processes of all nodes, over and over, and remembers
// every QEMU process that it ever saw. It must run in the lab's process
// namespace. Start it with [Watch.Run]; its other methods may be called from
// any goroutine.
type Watch struct {
	Proc   string        // where proc(5) is mounted
	Period time.Duration // between two looks

	mu     sync.Mutex
	known  map[int]sight // by process id
	copies []Copy
}

// sight is what is known of a process.
type sight struct {
	qemu      bool
	met, seen time.Time // when it was looked at first and last
}

// A process becomes QEMU, if at all, soon after it was forked: one that is older than youth without that is looked
// at only every rest. To read them all in each look takes processors that the guests need.
const (
	youth = 10 * time.Second
	rest  = 500 * time.Millisecond
)

// due reports whether a process that was no QEMU may have become one.
func (s sight) due(now time.Time) bool {
	return !s.qemu && (now.Sub(s.met) < youth || now.Sub(s.seen) >= rest)
}

// Run looks until ctx ends.
func (w *Watch) Run(ctx context.Context) error {
	tick := time.NewTicker(w.Period)
	defer tick.Stop()
	for {
		if err := w.look(time.Now()); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Copies are all that were seen so far, in order of their start.
func (w *Watch) Copies() []Copy {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.copies)
}

// look compares the processes with what is known. That a process id is given out again within a period does not
// happen.
func (w *Watch) look(now time.Time) error {
	dir, err := os.Open(w.Proc)
	if err != nil {
		return err
	}
	names, err := dir.Readdirnames(-1)
	dir.Close()
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	alive := make(map[int]sight, len(names))
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		// A process forks first and becomes QEMU later, so whatever is not
		// yet QEMU is looked at again; what a zombie was it no longer is.
		known, met := w.known[pid]
		switch {
		case !met:
			alive[pid] = sight{w.meet(pid, now), now, now}
		case known.due(now):
			alive[pid] = sight{w.meet(pid, now), known.met, now}
		case !known.qemu || !w.zombie(pid):
			alive[pid] = known
		}
	}
	for i := range w.copies {
		c := &w.copies[i]
		if c.Gone.IsZero() && !alive[c.ID].qemu {
			c.Gone = now
		}
	}
	w.known = alive
	return nil
}

// meet reads a process for the first time and reports whether it is QEMU.
func (w *Watch) meet(pid int, now time.Time) bool {
	dir := filepath.Join(w.Proc, strconv.Itoa(pid))
	cmdline, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil {
		return false
	}
	guest, incoming, ok := parseQEMU(cmdline)
	if !ok {
		return false
	}
	cgroup, err := os.ReadFile(filepath.Join(dir, "cgroup"))
	if err != nil {
		return false
	}
	where := node.Of(string(cgroup))
	if where == "" {
		return false
	}
	w.copies = append(w.copies, Copy{Guest: guest, Node: where, ID: pid, Incoming: incoming, Seen: now})
	return true
}

// zombie reports whether a process has ended and only waits for its parent.
func (w *Watch) zombie(pid int) bool {
	cmdline, err := os.ReadFile(filepath.Join(w.Proc, strconv.Itoa(pid), "cmdline"))
	return err != nil || len(cmdline) == 0
}

// parseQEMU recognises the command line of a QEMU that libvirt started:
// `-name guest=NAME,…`, and `-incoming` if it is to receive a migration.
// libvirt's short-lived QEMUs that only list capabilities have no guest.
func parseQEMU(cmdline []byte) (guest string, incoming, ok bool) {
	args := bytes.Split(cmdline, []byte{0})
	if !bytes.Contains(args[0], []byte("qemu-system-")) {
		return "", false, false
	}
	for i, arg := range args[:len(args)-1] {
		switch string(arg) {
		case "-name":
			for option := range strings.SplitSeq(string(args[i+1]), ",") {
				if name, found := strings.CutPrefix(option, "guest="); found {
					guest = name
				}
			}
		case "-incoming":
			incoming = true
		}
	}
	return guest, incoming, guest != ""
}
