package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func put(text string) func(*os.File) error {
	return func(f *os.File) error { _, err := f.WriteString(text); return err }
}

func TestFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "note.json")
	for _, text := range []string{"first", "second"} {
		if err := File(path, put(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("%q, %v; want %q", got, err, text)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	torn := errors.New("torn")
	err := File(path, func(f *os.File) error { return errors.Join(put("half")(f), torn) })
	if got, _ := os.ReadFile(path); !errors.Is(err, torn) || string(got) != "second" {
		t.Errorf("a failed write left %q, %v", got, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("left %v, %v", entries, err)
	}
}

func TestFileInTheWorkingDirectory(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := File("plain", put("x")); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile("plain"); err != nil || string(got) != "x" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestNoDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	if err := File(filepath.Join(dir, "x"), put("x")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("wrote: %v", err)
	}
	if err := SyncDir(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("synced: %v", err)
	}
}
