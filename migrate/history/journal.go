package history

import (
	"bufio"
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
// leaves the earlier lines whole, and at worst a torn last line, which the next
// append closes and ReadRecords skips.
//
// A disk, or another writer, that gives no answer is waited for two seconds: a guest that has moved must not fail
// for its record. The append goes on while the process lives, and the error says that its end is not known.
func AppendRecord(path string, r record.Record) error { return appendWithin(appendTime, path, r) }

// appendTime is far above what a busy disk needs for one line, and below what an action keeps for looking where
// the guest is.
const appendTime = 2 * time.Second

func appendWithin(limit time.Duration, path string, r record.Record) error {
	done := make(chan error, 1)
	go func() { done <- appendRecord(path, r) }()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return fmt.Errorf("append to %q: not done after %v, as the disk or another writer gives no answer: "+
			"type fuser -v %s to see who has it open", path, limit, path)
	}
}

func appendRecord(path string, r record.Record) (err error) {
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write record of guest %q: %w", r.Guest, err)
	}
	f, err := openJournal(path)
	if err != nil {
		return fmt.Errorf("append to %q: %w", path, err)
	}
	defer func() {
		if cerr := f.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("append to %q: %w", path, cerr)
		}
	}()
	if err := appendLine(f, line); err != nil {
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

// appendLine holds the file's lock, which ends with the file, so that two writers
// cannot both mend the same torn line.
func appendLine(f *os.File, line []byte) error {
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	var out []byte
	if size > 0 {
		last := make([]byte, 1)
		if _, err := f.ReadAt(last, size-1); err != nil {
			return err
		}
		if last[0] != '\n' {
			out = append(out, '\n') // a writer was killed in the middle of its line
		}
	}
	if _, err := f.Write(append(append(out, line...), '\n')); err != nil {
		return err
	}
	return f.Sync()
}

// ReadRecords reads a file that AppendRecord wrote, oldest first. Torn lines are
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
	records, _, err := decodeRecords(f)
	if err != nil {
		return nil, fmt.Errorf("read records from %q: %w", path, err)
	}
	return records, nil
}

// decodeRecords also counts the lines that are no records.
func decodeRecords(r io.Reader) (records []record.Record, skipped int, err error) {
	in := bufio.NewReader(r)
	for {
		line, err := in.ReadBytes('\n')
		if line = bytes.TrimSpace(line); len(line) > 0 {
			var rec record.Record
			if json.Unmarshal(line, &rec) == nil && rec.Schema > 0 {
				records = append(records, rec)
			} else {
				skipped++
			}
		}
		if errors.Is(err, io.EOF) {
			return records, skipped, nil
		}
		if err != nil {
			return records, skipped, err
		}
	}
}
