package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/hbplugin/guard/host"
	"github.com/vmferry/vmferry/hbplugin/guard/timing"
	"github.com/vmferry/vmferry/migrate/atomicfile"
	"github.com/vmferry/vmferry/migrate/safefile"
	"github.com/vmferry/vmferry/resource/notes"
)

// armedPath names the watchdog that a guard has armed and not disarmed. It ends with the boot, as that does.
var armedPath = filepath.Join(notes.DefaultRunDir, "guard.watchdog")

// pathLimit is longer than any path, in bytes.
const pathLimit = 4096

// watchdog is the hardware watchdog of this node.
type watchdog struct {
	path, note string
	timeout    time.Duration
	left       bool // the guard before this one has armed it
	armed      atomic.Pointer[host.Watchdog]
}

// watchdogOf is the watchdog to feed, nil for none; configured is what guard.toml names, "" for none. One that the guard
// before this one has armed is fed until it is disarmed, whatever guard.toml names by now: it would reset the node, and
// the other nodes may take it for the proof that nothing runs here.
func watchdogOf(configured, note string, timeout time.Duration, log logrus.FieldLogger) (*watchdog, error) {
	w := &watchdog{path: configured, note: note, timeout: timeout}
	raw, err := safefile.Read(note, pathLimit, safefile.Only(uint32(os.Geteuid())))
	switch {
	case err == nil:
		w.path, w.left = strings.TrimSpace(string(raw)), true
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("which watchdog the guard before this one has armed: %w", err)
	case configured == "":
		return nil, nil
	}
	if w.path != configured {
		log.Warnf("the watchdog %s is armed, and is fed until the guard gives the lease back or this node boots: only then "+
			"counts what guard.toml names", w.path)
	}
	return w, nil
}

// begin arms it. Where guests have to be killed, one that was left armed is not touched before that is done: to open it
// would feed it.
func (w *watchdog) begin(kills bool) error {
	if w.left && kills {
		return nil
	}
	return w.arm()
}

// arm notes that it is armed, and arms it.
func (w *watchdog) arm() error {
	if err := atomicfile.Bytes(w.note, []byte(w.path+"\n"), 0o600); err != nil {
		return fmt.Errorf("note which watchdog is armed: %w", err)
	}
	armed, err := host.Arm(w.path, w.timeout)
	if err != nil {
		if !w.left { // nobody has armed it: guard.toml may name another the next time
			err = errors.Join(err, os.Remove(w.note))
		}
		return err
	}
	w.armed.Store(armed)
	return nil
}

// feed feeds it, and arms it first where begin has not.
func (w *watchdog) feed() error {
	if armed := w.armed.Load(); armed != nil {
		return armed.Feed()
	}
	return w.arm()
}

// declared is after how long without feeding the node is reset at the latest, for the other nodes; 0 where that is not
// certain.
func (w *watchdog) declared() time.Duration {
	if w == nil {
		return 0
	}
	if armed := w.armed.Load(); armed != nil {
		return timing.Reset(armed.Timeout)
	}
	return 0
}

// disarm undoes arm.
func (w *watchdog) disarm() error {
	armed := w.armed.Load()
	if armed == nil {
		return nil
	}
	return errors.Join(armed.Disarm(), os.Remove(w.note))
}
