package resource

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// storageMatrix is the part of the faults matrix (package migrate) in which a guest is saved at one node and
// restored at the next. What becomes of it:
//
//	kept    it runs once, with the memory that it had
//	cold    it runs once, booted after a clean shutdown
//	crash   it runs once, booted as after a crash: its QEMU was killed, or it had to be destroyed
//	-       the phase has none of what the fault breaks
const storageMatrix = `
         source-QEMU target-QEMU source-libvirtd target-libvirtd source-hangs target-hangs link-cut link-slow target-memory disk-full storage-hangs agent-killed window
save     crash       -           cold            -               crash        -            -        -         -             cold      crash         kept         cold
restore  -           crash       -               crash           -            crash        -        -         kept          -         kept          crash        crash
`

// twoNodes are a guest's node and the next one, which share a directory and a disk.
type twoNodes struct {
	t           *testing.T
	here, there *world
	memory      string // of the guest where it runs: "old" before, and as long as it is kept
	shutDown    bool   // the guest got a clean shutdown
	killed      string // the step at which the agent is killed
	refused     int    // how often libvirt is still to refuse the restoring
}

// storageFaults are set before the action of the phase.
var storageFaults = map[string]func(*twoNodes){
	"source-QEMU": func(n *twoNodes) {
		n.here.save = func(context.Context, string) error {
			n.here.write(saveFile, partialState)
			n.here.gone()
			return errors.New("QEMU died")
		}
	},
	"target-QEMU": func(n *twoNodes) {
		n.there.restore = func(context.Context, string, string) error { return dead() } // libvirt cannot tell how far it came
	},
	"source-libvirtd": func(n *twoNodes) {
		n.here.save = func(context.Context, string) error {
			n.here.is(libvirt.Paused, "save") // what it is found in, and an abort resumes
			back := time.Now().Add(3 * time.Second)
			n.here.open = func(context.Context, string) error {
				if time.Now().Before(back) {
					return dead()
				}
				return nil
			}
			return dead()
		}
	},
	"target-libvirtd": func(n *twoNodes) { n.there.restore = func(context.Context, string, string) error { return dead() } },
	"source-hangs": func(n *twoNodes) {
		n.here.save = func(ctx context.Context, _ string) error {
			n.here.open = func(ctx context.Context, _ string) error { return blocked(ctx) }
			return blocked(ctx)
		}
	},
	"target-hangs": func(n *twoNodes) {
		n.there.restore = func(ctx context.Context, _, _ string) error { return blocked(ctx) }
	},
	"link-cut":      nil,
	"link-slow":     nil,
	"target-memory": func(n *twoNodes) { n.refused = 1 },
	"disk-full": func(n *twoNodes) {
		n.here.save = func(context.Context, string) error {
			n.here.write(saveFile, partialState)
			return errors.New("error writing: No space left on device")
		}
	},
	"storage-hangs": func(n *twoNodes) {
		n.refused = 1 // libvirt's own time for it is over
		n.here.save = func(ctx context.Context, _ string) error { n.here.is(libvirt.Paused, "save"); return blocked(ctx) }
		n.here.abort = blocked
	},
	"agent-killed": func(n *twoNodes) { n.killed = "saving" },
	"window": func(n *twoNodes) {
		n.here.agent.Timeout, n.there.agent.Timeout = 20*time.Second, 20*time.Second
		n.here.save = func(ctx context.Context, _ string) error { n.here.is(libvirt.Paused, "save"); return blocked(ctx) }
		n.there.restore = func(ctx context.Context, _, _ string) error { return blocked(ctx) }
	},
}

func TestStorageMatrix(t *testing.T) {
	rows := strings.Split(strings.TrimSpace(storageMatrix), "\n")
	columns := strings.Fields(rows[0])
	for _, c := range columns {
		if _, known := storageFaults[c]; !known || len(columns) != len(storageFaults) {
			t.Fatalf("the matrix has the faults %v, and there are %d", columns, len(storageFaults))
		}
	}
	var phases []string
	for _, row := range rows[1:] {
		cells := strings.Fields(row)
		if len(cells) != 1+len(columns) {
			t.Fatalf("%q has %d cells, want one for each of %v", row, len(cells)-1, columns)
		}
		phases = append(phases, cells[0])
		for i, fault := range columns {
			if want := cells[1+i]; want != "-" {
				t.Run(cells[0]+"/"+fault, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { storageCell(t, cells[0], fault, want) })
				})
			}
		}
	}
	if !slices.Equal(phases, []string{"save", "restore"}) {
		t.Errorf("the matrix has the phases %v", phases)
	}
}

// storageCell stops a guest that could not be moved, and starts it at the next node. What fails is requested
// again, as a cluster manager does, by then without the fault.
func storageCell(t *testing.T, phase, fault, want string) {
	n := newTwoNodes(t)
	strike := storageFaults[fault]
	if phase == "save" {
		strike(n)
	}
	n.call(n.here, "stop")
	n.killed = ""
	if n.here.there {
		t.Fatalf("stopped, and it is here: did %v", n.here.calls)
	}
	mended := func() { n.there.restore, n.there.agent.Timeout, n.killed = n.restore, 0, "" }
	if phase == "restore" {
		before := n.there.restore
		if strike(n); n.killed != "" {
			n.killed = "restoring"
		}
		if fault == "storage-hangs" {
			n.there.restore = before
		}
		if err := n.call(n.there, "start"); err == nil && want != "kept" {
			t.Fatal("the start succeeded in spite of the fault")
		}
		if n.there.there {
			t.Fatal("it runs after a start that failed")
		}
	}
	mended()
	if err := n.call(n.there, "start"); err != nil {
		t.Fatal(err)
	}
	if got := n.fate(); got != want || n.here.there {
		t.Errorf("%s, want %s; the source did %v, the target %v", got, want, n.here.calls, n.there.calls)
	}
	for _, name := range []string{saveFile, saveFile + ".restoring"} {
		if _, err := os.Stat(filepath.Join(n.here.dir, name)); err == nil {
			t.Errorf("%s is still there, and the guest runs", name)
		}
	}
}

func newTwoNodes(t *testing.T) *twoNodes {
	n := &twoNodes{t: t, here: savingWorld(t, "stop"), there: savingWorld(t, "start"), memory: "old"}
	n.there.agent.Params.SaveDir = n.here.dir
	n.here.boot()
	strandedNote("vm1", time.Minute)(n.here)
	shutdown := n.here.shutdown
	n.here.shutdown = func(ctx context.Context, mode string) error { n.shutDown = true; return shutdown(ctx, mode) }
	n.here.abort = func(context.Context) error { n.here.boot(); return nil }
	n.there.restore = n.restore
	n.there.create = func(context.Context, string) error { n.memory = "new"; n.there.boot(); return nil }
	n.there.target = func(context.Context) (libvirt.Status, error) { return n.here.status(t.Context()) }
	for _, w := range []*world{n.here, n.there} {
		w.agent.Step = func(step string) {
			if step == n.killed {
				if step == "saving" { // libvirt does what it was asked to do
					n.here.savedIn(time.Second)
				}
				runtime.Goexit()
			}
		}
	}
	return n
}

// restore is the next node's libvirt.
func (n *twoNodes) restore(_ context.Context, path, _ string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if n.refused > 0 {
		n.refused--
		return errors.New("cannot set up guest memory: Cannot allocate memory")
	}
	if string(raw) != wholeState {
		n.t.Errorf("restored from %q", raw)
	}
	n.there.boot()
	return nil
}

var errKilled = errors.New("killed")

// call is an action by an agent that may be killed; killed in a stop, it is called again.
func (n *twoNodes) call(w *world, action string) error {
	n.t.Helper()
	err := errKilled
	done := make(chan struct{})
	go func() {
		defer close(done)
		err, _ = w.run(action)
	}()
	<-done
	if action == "stop" && errors.Is(err, errKilled) {
		n.killed = ""
		return n.call(w, action)
	}
	if action == "stop" && err != nil {
		n.t.Errorf("stop: %v, did %v", err, w.calls)
	}
	return err
}

func (n *twoNodes) fate() string {
	switch {
	case !n.there.there:
		return "gone"
	case n.memory == "old":
		return "kept"
	case n.shutDown:
		return "cold"
	}
	return "crash"
}
