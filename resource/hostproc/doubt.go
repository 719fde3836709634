package hostproc

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// doubt is a process of which nobody can say that it is no guest's.
type doubt struct {
	pid     int
	machine string   // of which guest it is by its control group; empty where that does not tell
	files   []string // of which guests it is by libvirt's pid files, where the control group does not tell
	why     error
}

// mayConcern reports whether the process may be that guest's. An empty name is for any guest.
func (d doubt) mayConcern(guest string) bool {
	switch {
	case guest == "":
		return true
	case d.machine != "":
		return mayBe(d.machine, guest)
	case len(d.files) > 0:
		return slices.Contains(d.files, guest)
	}
	return true
}

var (
	errExiting      = errors.New("a QEMU that is exiting has lost its command line")
	errStarting     = errors.New("it is executing a QEMU, and has no command line yet")
	errUnrecognised = errors.New("libvirt's pid file names it, and it was not recognised")
	errDisguised    = errors.New("its command line names another guest than its control group or libvirt's pid file")
	errBlocked      = errors.New("its command line cannot be read for now: its memory is locked, as in a storage stall")
)

// unrecognised is why a process that is not known for a guest's may be one, and nil where it is none. comm is what the
// kernel calls it, and filed reports that a pid file of libvirt's names it.
//
// The kernel drops the command line with the memory, before the files: the images of a QEMU that exits may
// still be open. A command line that cannot be read may be that of an emulator's wrapper, which may be called
// anything.
func unrecognised(comm string, cmdline []byte, err error, filed bool) error {
	switch {
	case isHelper(comm):
		return nil
	case err != nil:
		return err
	case len(cmdline) == 0 && isEmulator(comm):
		return errExiting
	case isEmulator(comm) && filed:
		return errUnrecognised
	}
	return nil
}

// reading is a file of a process that is being read, which may hang for as long as the process does.
type reading struct {
	done  chan struct{} // closed when the rest is there
	raw   []byte
	err   error
	ended time.Time
}

// patience is how long a scan waits for command lines after it got the last one. On a machine that is overloaded they
// come slowly, but they do; those that do not come are waited for together.
const patience = time.Second

// waiter waits for the readings of one scan.
type waiter struct{ last time.Time } // when one of them ended, or the scan began

// await returns errBlocked when patience, or ctx, is at its end. The reading continues.
func (w *waiter) await(ctx context.Context, r *reading) ([]byte, error) {
	over := time.NewTimer(time.Until(w.last.Add(patience)))
	defer over.Stop()
	select {
	case <-r.done:
		return w.take(r)
	case <-ctx.Done():
	case <-over.C:
	}
	select {
	case <-r.done: // it was there already
		return w.take(r)
	default:
		return nil, errBlocked
	}
}

func (w *waiter) take(r *reading) ([]byte, error) {
	if r.ended.After(w.last) {
		w.last = r.ended
	}
	return r.raw, r.err
}

// readings are those under way in this program, by the file and by the process's start time. One that hangs is found
// again by the next scan, so that a process costs one goroutine at most, however often it is looked at.
type readings struct {
	mu    sync.Mutex
	under map[readingOf]*reading
}

type readingOf struct {
	file  string
	start uint64
}

var commandLines readings

// begin returns the reading of a file that is under way, or begins one.
func (r *readings) begin(of readingOf) *reading {
	r.mu.Lock()
	defer r.mu.Unlock()
	if one, under := r.under[of]; under {
		return one
	}
	if r.under == nil {
		r.under = map[readingOf]*reading{}
	}
	one := &reading{done: make(chan struct{})}
	r.under[of] = one
	go func() {
		one.raw, one.err = readSome(of.file, maxCmdline)
		one.ended = time.Now()
		r.mu.Lock()
		delete(r.under, of)
		r.mu.Unlock()
		close(one.done)
	}()
	return one
}

func (h Host) beginRead(pid int, stat procStat) *reading {
	return commandLines.begin(readingOf{h.path(pid, "cmdline"), stat.start})
}
