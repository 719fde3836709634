package script

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
)

// stopNote remembers, until the next boot, that a stop of a guest was begun and did not end in
// success. It is one file without contents, whose name tells a stop that failed from
// one that is under way or was killed.
type stopNote struct {
	begun, failed string // paths
}

func newStopNote(runDir, guest string) stopNote {
	path := filepath.Join(runDir, "heartbeat", url.PathEscape(guest))
	return stopNote{path + ".stop-begun", path + ".stop-failed"}
}

// exists reports whether there is a note. One that cannot be looked for counts.
func (n stopNote) exists() bool { return !absent(n.begun) || !absent(n.failed) }

func absent(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// hasFailed is for deciding what to try, not what to believe: only a note that is seen counts.
func (n stopNote) hasFailed() bool {
	_, err := os.Lstat(n.failed)
	return err == nil
}

// begin makes the note and reports whether a stop has failed before.
func (n stopNote) begin() (failed bool, err error) {
	if n.hasFailed() {
		return true, nil
	}
	if err := os.MkdirAll(filepath.Dir(n.begun), 0o700); err != nil {
		return false, fmt.Errorf("note that a stop begins: %w", err)
	}
	f, err := os.OpenFile(n.begun, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return false, fmt.Errorf("note that a stop begins: %w", err)
	}
	return false, f.Close()
}

// fail notes that the stop that was begun has failed.
func (n stopNote) fail() error {
	if n.hasFailed() {
		return nil
	}
	if err := os.Rename(n.begun, n.failed); err != nil {
		return fmt.Errorf("note that a stop failed: %w", err)
	}
	return nil
}

// clear removes the note: the guest is where it should be.
func (n stopNote) clear() error {
	for _, path := range []string{n.begun, n.failed} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("forget a stop: %w", err)
		}
	}
	return nil
}
