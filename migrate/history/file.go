package history

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

// fileLimit bounds a file of what moves have taught, in bytes: far above what any cluster has.
const fileLimit = 16 << 20

// readJSON reads a file of what moves have taught into doc. A file that does not exist, or has no name, leaves doc as it
// is.
func readJSON(path string, doc any) error {
	if path == "" {
		return nil
	}
	data, err := safefile.Read(path, fileLimit, safefile.Only())
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

// update calls change while no other process updates the file at path, and replaces the file by what change
// returns. It is on the disk, whole, when update returns; killed before, the old file is. Where change returns
// nil, nothing is written.
func update(path string, change func() (doc any)) error {
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
