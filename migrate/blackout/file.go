package blackout

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
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
	f, err := temporary(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// ReadFile reads the report of a file, see ReadReport.
func ReadFile(path string) (*Report, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("report file: %w", err)
	}
	defer f.Close()
	r, err := ReadReport(f)
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
	f, err := temporary(path)
	if err != nil {
		return err
	}
	if err := fill(f, write); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return errors.Join(fmt.Errorf("report file: %w", err), os.Remove(f.Name()))
	}
	return syncDir(filepath.Dir(path))
}

// temporary creates the file that will take the place of path.
func temporary(path string) (*os.File, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return nil, fmt.Errorf("report file: %w", err)
	}
	return f, nil
}

// fill writes to f, down to the disk, and closes it.
func fill(f *os.File, write func(io.Writer) error) error {
	w := bufio.NewWriter(f)
	err := errors.Join(write(w), w.Flush(), f.Chmod(0o644), f.Sync())
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("report file: %w", err)
	}
	return nil
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("report file: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("report file: %w", err)
	}
	return nil
}
