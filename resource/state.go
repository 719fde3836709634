package resource

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/vmferry/vmferry/migrate/atomicfile"
	"github.com/vmferry/vmferry/migrate/safefile"
)

// The folders of the state directory.
const (
	resourcesDir = "resources"
	guestsDir    = "guests"
	startsDir    = "starts" // a lock for each resource, in a folder of its own
)

// noteLimit is far above any note, in bytes.
const noteLimit = 1 << 20

// stateDir is the directory that holds small JSON files by resource. They are written
// to a temporary name, synced and renamed: a reader sees the old file or the new one. What other users put there is no
// note.
type stateDir string

// file is the path of a resource's file. An id may hold any character; what a file
// name may not is escaped as in a URL.
func (d stateDir) file(folder, id string) string {
	return filepath.Join(string(d), folder, url.PathEscape(id)+".json")
}

func (d stateDir) save(folder, id string, value any) error {
	raw, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode state of %q: %w", id, err)
	}
	path := d.file(folder, id)
	if err := safefile.MakeDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("save state of %q: %w", id, err)
	}
	if err := atomicfile.Bytes(path, append(raw, '\n'), 0o600); err != nil {
		return fmt.Errorf("save state of %q: %w", id, err)
	}
	return nil
}

func (d stateDir) load(folder, id string, value any) error {
	raw, err := safefile.Read(d.file(folder, id), noteLimit, safefile.Only())
	if safefile.NotOurs(err) {
		err = fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, value); err != nil {
		return fmt.Errorf("state of %q: %w", id, err)
	}
	return nil
}

// hold notes that a guest runs here.
func (d stateDir) hold(e Entry) error {
	var old Entry
	if err := d.load(guestsDir, e.Resource, &old); err == nil && old == e {
		return nil // a monitor comes every ten seconds and need not write
	}
	return d.save(guestsDir, e.Resource, e)
}

// release removes the note that a guest runs here.
func (d stateDir) release(id string) error { return d.remove(guestsDir, id) }

// remove removes a file; that there is none is no error.
func (d stateDir) remove(folder, id string) error {
	path := d.file(folder, id)
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(path))
}
