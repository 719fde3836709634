package migrate

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/atomicfile"
	"github.com/vmferry/vmferry/migrate/safefile"
)

// recallLimit bounds a file of what moves have taught, in bytes: far above what any cluster has.
const recallLimit = 16 << 20

// recall reads a file of what moves have taught into doc. A file that does not exist, or has no name, leaves doc as it
// is.
func recall(path string, doc any) error {
	if path == "" {
		return nil
	}
	data, err := safefile.Read(path, recallLimit, safefile.Only())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, doc); err != nil {
		return fmt.Errorf("parse %q: %w", path, err)
	}
	return nil
}

// revise calls change while no other process revises the file at path, and replaces the file by what change
// returns. It is on the disk, whole, when revise returns; killed before, the old file is. Where change returns
// nil, nothing is written.
func revise(path string, change func() (doc any)) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	lock, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }() // which gives the lock back
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	doc := change()
	if doc == nil {
		return nil
	}
	data, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Bytes(path, append(data, '\n'), 0o644)
}
