package report

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/vmferry/vmferry/migrate/atomicfile"
)

// CheckFile finds out whether WriteFile will be able to write a report to
// path, and leaves nothing behind. A path that exists must be a regular file:
// it will be replaced, and a device must not be.
func CheckFile(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("report file: %w", err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("report file %q is not a regular file", path)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".replace-*") // as a write of the report begins
	if err != nil {
		return fmt.Errorf("report file: %w", err)
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// ReadFile reads the report of a file, see Read.
func ReadFile(path string) (*Report, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("report file: %w", err)
	}
	defer f.Close()
	r, err := Read(f)
	if err != nil {
		return nil, fmt.Errorf("report file %q: %w", path, err)
	}
	return r, nil
}

// WriteFile writes the report to path, see ReplaceFile.
func (r *Report) WriteFile(path string) error { return ReplaceFile(path, r.Write) }

// ReplaceFile makes what write writes the content of path, so that a reader, and
// what is left after a crash, is either the earlier content or all of it.
func ReplaceFile(path string, write func(io.Writer) error) error {
	err := atomicfile.File(path, func(f *os.File) error {
		w := bufio.NewWriter(f)
		return errors.Join(write(w), w.Flush(), f.Chmod(0o644))
	})
	if err != nil {
		return fmt.Errorf("report file: %w", err)
	}
	return nil
}
