package hostproc

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A pid file counts that only root, or this user, can have written, and for the process that it was written for.
func TestPIDFiles(t *testing.T) {
	path := func(f tree) string { return filepath.Join(f.host.Run, "vm1.pid") }
	for _, c := range []struct {
		name   string
		change func(f tree) error
		counts bool
	}{
		{"libvirt's", func(tree) error { return nil }, true},
		{"with a line break", func(f tree) error { return os.WriteFile(path(f), []byte("30\n"), 0o644) }, true},
		{"that its owner alone may read", func(f tree) error { return os.Chmod(path(f), 0o600) }, true},
		{"that its group may write", func(f tree) error { return os.Chmod(path(f), 0o664) }, false},
		{"that anybody may write", func(f tree) error { return os.Chmod(path(f), 0o646) }, false},
		{"in a directory that anybody may write", func(f tree) error { return os.Chmod(f.host.Run, 0o1777) }, false},
		{"in a directory that its group may write", func(f tree) error { return os.Chmod(f.host.Run, 0o775) }, false},
		{"a link to somewhere", func(f tree) error {
			elsewhere := filepath.Join(f.t.TempDir(), "vm1.pid")
			return errors.Join(os.Rename(path(f), elsewhere), os.Symlink(elsewhere, path(f)))
		}, false},
		{"a FIFO", func(f tree) error { return errors.Join(os.Remove(path(f)), unix.Mkfifo(path(f), 0o644)) }, false},
		{"a directory", func(f tree) error { return errors.Join(os.Remove(path(f)), os.Mkdir(path(f), 0o755)) }, false},
		{"without end", func(f tree) error {
			return os.WriteFile(path(f), []byte("30"+strings.Repeat(" ", 1<<20)+"x"),
				0o644)
		}, true},
		{"not a number", func(f tree) error { return os.WriteFile(path(f), []byte("30x"), 0o644) }, false},
		{"of another process", func(f tree) error { return os.WriteFile(path(f), []byte("31"), 0o644) }, false},
		{"older than the process", func(f tree) error {
			old := time.Unix(1, 0)
			return os.Chtimes(path(f), old, old)
		}, false},
		{"another file", func(f tree) error { return os.Rename(path(f), path(f)+".old") }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newTree(t)
			f.guest(30, "vm1", uuidA)
			f.owned(30, 1234, 1234)
			f.run("vm1.pid", "30")
			if err := c.change(f); err != nil {
				t.Fatal(err)
			}
			if found, err := f.host.Find(t.Context(), "vm1", uuidA); (len(found) == 1) != c.counts || err != nil {
				t.Errorf("found %v, %v, want one: %t", found, err, c.counts)
			}
		})
	}
}

// Another user's directory tells nothing, whatever its mode.
func TestRunOfAnotherUser(t *testing.T) {
	needRoot(t)
	f := newTree(t)
	f.guest(30, "vm1", uuidA)
	f.owned(30, 1234, 1234)
	f.run("vm1.pid", "30")
	if err := os.Chown(f.host.Run, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	if found, err := f.host.Find(t.Context(), "vm1", uuidA); len(found) != 0 || err != nil {
		t.Errorf("found %v, %v", found, err)
	}
}

// A process that began within the rounding of its file's time is the one of the file.
func TestNamesByTime(t *testing.T) {
	written := time.Unix(1e9, 0)
	for after, want := range map[time.Duration]bool{-time.Hour: true, 0: true, rounding: true,
		rounding + time.Millisecond: false, time.Hour: false} {
		if got := (pidFile{pid: 30, written: written}).names(written.Add(after)); got != want {
			t.Errorf("begun %v after: %t", after, got)
		}
		if !(pidFile{pid: 30, written: written, locker: 30}).names(written.Add(after)) {
			t.Errorf("begun %v after, and the lock is held: not named", after)
		}
	}
}
