package notes

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vmferry/vmferry/migrate/atomicfile"
	"github.com/vmferry/vmferry/migrate/safefile"
)

const (
	extension = ".json"
	// sizeLimit is far above any note, in bytes.
	sizeLimit = 1 << 20
)

// note is one of the kinds.
type note interface {
	// isWhole reports whether the note has what every reader needs. One without it is no note.
	isWhole() bool
}

// Folder holds the notes of one kind, one file for each resource. Its methods touch the disk, which may hang.
type Folder[T note] struct{ dir string }

// Path is the file of a resource's note. An id may hold any character; what a file name may not is escaped as in a URL.
func (f Folder[T]) Path(id string) string { return filepath.Join(f.dir, url.PathEscape(id)+extension) }

// Load reads a note. The error is [fs.ErrNotExist] where there is none.
func (f Folder[T]) Load(id string) (T, error) {
	var none T
	raw, err := read(f.Path(id))
	if err != nil {
		return none, err
	}
	note, err := decode[T](raw)
	if err != nil {
		return none, fmt.Errorf("note of %q: %w", id, err)
	}
	return note, nil
}

// Save writes a note durably. One that says the same is not written again, and stays as old as it is.
func (f Folder[T]) Save(id string, note T) error {
	raw, err := json.Marshal(note)
	raw, path := append(raw, '\n'), f.Path(id)
	if old, rerr := read(path); err == nil && rerr == nil && bytes.Equal(old, raw) {
		return nil // a monitor comes every ten seconds and need not write
	}
	if err == nil {
		err = safefile.MakeDir(f.dir)
	}
	if err == nil {
		err = atomicfile.Bytes(path, raw, 0o600)
	}
	if err != nil {
		return fmt.Errorf("save note of %q: %w", id, err)
	}
	return nil
}

// Remove removes a note durably; that there is none is no error.
func (f Folder[T]) Remove(id string) error {
	err := os.Remove(f.Path(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return atomicfile.SyncDir(f.dir)
}

// Age is how long ago a note was written; known is false where there is none.
func (f Folder[T]) Age(id string) (age time.Duration, known bool) {
	info, err := os.Stat(f.Path(id))
	if err != nil {
		return 0, false
	}
	return time.Since(info.ModTime()), true
}

// All reads all notes, sorted by id. No folder means no notes. Files that are no notes are left out: notes are renamed
// into place whole, so that garbage is not one of ours. A note that cannot be read is reported in the error, beside the
// notes that could.
func (f Folder[T]) All() ([]T, error) {
	files, err := os.ReadDir(f.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list notes: %w", err)
	}
	id := func(f fs.DirEntry) string { return strings.TrimSuffix(f.Name(), extension) }
	slices.SortFunc(files, func(a, b fs.DirEntry) int { return strings.Compare(id(a), id(b)) })
	var all []T
	var problems []error
	for _, file := range files {
		if filepath.Ext(file.Name()) != extension || !file.Type().IsRegular() {
			continue
		}
		raw, err := read(filepath.Join(f.dir, file.Name()))
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // else removed since the listing, or no note
			problems = append(problems, fmt.Errorf("read note: %w", err))
		}
		if note, derr := decode[T](raw); err == nil && derr == nil {
			all = append(all, note)
		}
	}
	return all, errors.Join(problems...)
}

// read reads a file. One that another user has put there counts as none.
func read(path string) ([]byte, error) {
	raw, err := safefile.Read(path, sizeLimit, safefile.Only())
	if safefile.NotOurs(err) {
		err = fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	return raw, err
}

// decode reads the text of a note. The error is [fs.ErrNotExist] for one that is not whole.
func decode[T note](raw []byte) (note T, err error) {
	err = json.Unmarshal(raw, &note)
	if err == nil && !note.isWhole() {
		err = fmt.Errorf("it is not whole: %w", fs.ErrNotExist)
	}
	return note, err
}

// isWithin reports whether something happened less than limit ago. A time that is to come was not: the clock was set.
func isWithin(limit time.Duration, at, now time.Time) bool {
	age := now.Sub(at)
	return age >= 0 && age < limit
}
