package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/hbplugin/guard/host"
	"github.com/vmferry/vmferry/migrate/atomicfile"
	"github.com/vmferry/vmferry/migrate/safefile"
	"github.com/vmferry/vmferry/resource/notes"
)

// armedPath names the watchdog that a guard has armed and not disarmed. It ends with the boot, as that does.
var armedPath = filepath.Join(notes.DefaultRunDir, "guard.watchdog")

// pathLimit is longer than any path, in bytes.
const pathLimit = 4096

// watchdogOf is the watchdog to feed; configured is what guard.toml names, "" for none. One that the guard before this
// one has armed is fed until it is disarmed, whatever guard.toml names by now: it would reset the node, and the other
// nodes may take it for the proof that nothing runs here.
func watchdogOf(configured, note string, log logrus.FieldLogger) (string, error) {
	raw, err := safefile.Read(note, pathLimit, safefile.Only(uint32(os.Geteuid())))
	if errors.Is(err, fs.ErrNotExist) {
		return configured, nil
	}
	if err != nil {
		return "", fmt.Errorf("which watchdog the guard before this one has armed: %w", err)
	}
	armed := strings.TrimSpace(string(raw))
	if armed != configured {
		log.Warnf("the watchdog %s is armed, and is fed until the guard gives the lease back or this node boots: only then "+
			"counts what guard.toml names", armed)
	}
	return armed, nil
}

// arm arms the watchdog at path, and notes that first. disarm undoes both.
func arm(path, note string, timeout time.Duration) (w *host.Watchdog, disarm func() error, err error) {
	_, noted := os.Lstat(note)
	if err := atomicfile.Bytes(note, []byte(path+"\n"), 0o600); err != nil {
		return nil, nil, fmt.Errorf("note which watchdog is armed: %w", err)
	}
	if w, err = host.Arm(path, timeout); err != nil {
		if errors.Is(noted, fs.ErrNotExist) { // nobody has armed it: guard.toml may name another the next time
			err = errors.Join(err, os.Remove(note))
		}
		return nil, nil, err
	}
	return w, func() error { return errors.Join(w.Disarm(), os.Remove(note)) }, nil
}
