package history

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/vmferry/vmferry/migrate/atomicfile"
	"github.com/vmferry/vmferry/migrate/safefile"
)

// fileLimit bounds a file of what moves have taught, in bytes: far above what any cluster has.
const fileLimit = 16 << 20

// schema is the version of both files.
const schema = 1

// file is the form of links.json and of guests.json.
type file struct {
	Schema int                `json:"schema"`
	Peers  map[string]Link    `json:"peers,omitempty"`  // by node name
	Guests map[string]Profile `json:"guests,omitempty"` // by name
}

// read reads such a file. One that does not exist, that is of another schema or has no name, is empty.
func read(path string) (file, error) {
	if path == "" {
		return file{}, nil
	}
	data, err := safefile.Read(path, fileLimit, safefile.Only())
	if errors.Is(err, fs.ErrNotExist) {
		return file{}, nil
	}
	var f file
	if err == nil {
		err = json.Unmarshal(data, &f)
	}
	if err != nil {
		return file{}, fmt.Errorf("read the history of migrations in %q: %w", path, err)
	}
	if f.Schema != schema {
		return file{}, nil
	}
	return f, nil
}

// update calls change while no other process updates the file at path, and replaces the file in one step if that
// changed it. A file that cannot be read is replaced: the next moves teach again what it held.
func update(path string, change func(f *file) (changed bool)) error {
	unlock, err := atomicfile.Lock(path)
	if err != nil {
		return err
	}
	defer unlock()
	f, _ := read(path)
	f.Schema = schema
	if !change(&f) {
		return nil
	}
	data, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Bytes(path, append(data, '\n'), 0o644)
}

// set is the map with one more entry; the map may be nil.
func set[T any](m *map[string]T, name string, value T) {
	if *m == nil {
		*m = map[string]T{}
	}
	(*m)[name] = value
}
