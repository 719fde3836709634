package history

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/atomicfile"
	"github.com/vmferry/vmferry/migrate/record"
	"github.com/vmferry/vmferry/migrate/safefile"
)

// RecordsFile is the name of the file of records in a node's state directory.
const RecordsFile = "migrations.jsonl"

// AppendRecord adds r as one line to the file at path, making it when needed, and returns when
// it is on the disk. Several processes may append at once. Killed at any point, it
// leaves the earlier lines whole, and at worst an incomplete last line, which the next
// append closes and ReadRecords skips.
//
// A disk, or another writer, that gives no answer is waited for two seconds: a guest that has moved must not fail
// for its record. The append continues while the process lives, and the error says that its end is not known.
func AppendRecord(path string, r record.Record) error { return appendWithin(appendTime, path, r) }

// appendTime is far above what a busy disk needs for one line, and below what an action keeps for looking where
// the guest is.
const appendTime = 2 * time.Second

func appendWithin(limit time.Duration, path string, r record.Record) error {
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write record of guest %q: %w", r.Guest, err)
	}
	done := make(chan error, 1)
	go func() { done <- AppendLine(path, line) }()
	select {
	case err = <-done:
	case <-time.After(limit):
		err = fmt.Errorf("not done after %v, as the disk or another writer gives no answer: "+
			"type fuser -v %s to see who has it open", limit, path)
	}
	if err != nil {
		return fmt.Errorf("append to %q: %w", path, err)
	}
	return nil
}

// openJournal opens the file for appending, and makes a new one's name durable. A link counts where root made it.
func openJournal(path string) (*os.File, error) {
	const flags = os.O_RDWR | os.O_APPEND | unix.O_NOFOLLOW | unix.O_NONBLOCK
	real, _, err := safefile.Look(path, safefile.Only())
	if err == nil {
		return os.OpenFile(real, flags, 0)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, flags|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	return f, atomicfile.SyncDir(filepath.Dir(path))
}

// AppendLine adds a line to a file of lines, making it when needed, and returns when it is on the disk. A line that
// another writer has left incomplete is closed first. It can hang with the disk, or while another writer does.
//
// It holds the file's lock, which ends with the file, so that two writers cannot both mend the same incomplete line.
func AppendLine(path string, line []byte) (err error) {
	f, err := openJournal(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	last := []byte{'\n'}
	if size > 0 {
		if _, err := f.ReadAt(last, size-1); err != nil {
			return err
		}
	}
	line = append(line, '\n')
	if last[0] != '\n' {
		line = append([]byte{'\n'}, line...) // a writer was killed in the middle of its line
	}
	if _, err := f.Write(line); err != nil {
		return err
	}
	return f.Sync()
}

// ReadRecords reads a file that AppendRecord wrote, oldest first. Incomplete lines are
// skipped. A file that does not exist has no records.
func ReadRecords(path string) ([]record.Record, error) {
	f, err := safefile.Open(path, safefile.Anyone)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read records: %w", err)
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, fmt.Errorf("read records from %q: %w", path, err)
	}
	return decodeRecords(data), nil
}

// decodeRecords leaves out lines that are no records.
func decodeRecords(data []byte) (records []record.Record) {
	for line := range bytes.Lines(data) {
		var r record.Record
		if json.Unmarshal(line, &r) == nil && r.Schema > 0 {
			records = append(records, r)
		}
	}
	return records
}
