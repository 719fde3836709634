package shutdown

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Intent is the durable note "vmferry has put this node into standby". It is
// written before standby is requested and removed after it was taken back, so
// that a daemon that died in between still knows whose standby it is. Its file
// belongs under /run: like the attribute, it must not survive a boot.
type Intent struct{ Path string }

// DaemonIntent is vmferryd's note in a state directory, normally notes.DefaultRunDir.
func DaemonIntent(stateDir string) Intent { return Intent{filepath.Join(stateDir, "standby-is-ours")} }

// OperatorIntent is the note that an operator has drained this node. vmferryd takes its own note for a shutdown that
// was called off, and undoes it.
func OperatorIntent(stateDir string) Intent {
	return Intent{filepath.Join(stateDir, "drained-by-operator")}
}

// Exists says whether the note is there.
func (i Intent) Exists() (bool, error) {
	_, err := os.Stat(i.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read the note of standby: %w", err)
	}
	return true, nil
}

// Set writes the note and forces it to the disk; writing it again is no error.
func (i Intent) Set() error {
	if err := os.MkdirAll(filepath.Dir(i.Path), 0o755); err != nil {
		return fmt.Errorf("write the note of standby: %w", err)
	}
	f, err := os.OpenFile(i.Path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("write the note of standby: %w", err)
	}
	// The note has no content, so there is nothing to tear: its name is all.
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write the note of standby: %w", err)
	}
	return nil
}

// Clear removes the note; that it is not there is no error.
func (i Intent) Clear() error {
	if err := os.Remove(i.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the note of standby: %w", err)
	}
	return nil
}
