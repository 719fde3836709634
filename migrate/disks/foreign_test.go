package disks

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/roottest"
)

const stranger = 54321

var asRoot, must = roottest.Need, roottest.Must

// planted are what somebody can put beside an image, none of which a move makes.
var planted = map[string]func(path string) error{
	"a FIFO":                    func(path string) error { return unix.Mkfifo(path, 0o666) },
	"a directory":               func(path string) error { return os.Mkdir(path, 0o777) },
	"a full directory":          func(path string) error { return os.MkdirAll(filepath.Join(path, "x"), 0o777) },
	"a link to an endless file": func(path string) error { return os.Symlink("/dev/zero", path) },
	"a link to a FIFO": func(path string) error {
		return errors.Join(unix.Mkfifo(path+".f", 0o666), os.Symlink(path+".f", path))
	},
	"a link to itself, in effect": func(path string) error { return os.Symlink("/proc/self", path) },
}

// bounded fails the test where f takes long or much memory.
func bounded(t *testing.T, f func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("it hangs")
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 64<<20 {
		t.Errorf("it took %d MiB of memory", grown>>20)
	}
}

// What no move can have made neither stops a start nor a move, and stays where it is.
func TestPlanted(t *testing.T) {
	for name, plant := range planted {
		t.Run(name, func(t *testing.T) {
			path := image(t)
			for _, suffix := range []string{NoteSuffix, ArrivingSuffix, OldSuffix} {
				must(t, plant(path+suffix))
			}
			bounded(t, func() {
				check(t, path, "")
				if got := Foreign(path); len(got) != 3 {
					t.Errorf("foreign: %q", got)
				}
				for _, do := range []func(string) error{Arrived, Forget, Gone} {
					if err := do(path); err != nil {
						t.Error(err)
					}
				}
				for _, suffix := range []string{NoteSuffix, ArrivingSuffix, OldSuffix} {
					if _, err := os.Lstat(path + suffix); err != nil {
						t.Errorf("%s is gone: %v", suffix, err)
					}
				}
				if _, err := ReadNote(path); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("read: %v", err)
				}
				must(t, begin(t, path).Moved())
				check(t, path, "went with the guest to node2")
			})
		})
	}
}

// A file counts only when its owner may have made it: root, or who owns the image or its directory.
func TestOwnerOfTheNote(t *testing.T) {
	asRoot(t)
	const moved = `{"stage":"handing over","guest":"web","peer":"node2","since":"2026-01-02T03:04:05Z"}`
	const qemu = 4711
	for _, c := range []struct {
		name, suffix, text string
		owner              int
		words              string // of the refusal, "" for none
	}{
		{"an empty mark", ArrivingSuffix, "", stranger, ""},
		{"an empty mark of root", ArrivingSuffix, "", 0, "not finished"},
		{"a mark of the image's owner", ArrivingSuffix, "", qemu, "not finished"},
		{"an empty note", NoteSuffix, "", stranger, ""},
		{"a note", NoteSuffix, moved, stranger, ""},
		{"garbage", NoteSuffix, "{", stranger, ""},
		{"a large one", NoteSuffix, strings.Repeat(" ", 1<<20), stranger, ""},
		{"a note of root", NoteSuffix, moved, 0, "was being handed over to node2"},
		{"a note of the image's owner", NoteSuffix, moved, qemu, "was being handed over to node2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := image(t)
			must(t, os.Chmod(filepath.Dir(path), 0o777|fs.ModeSticky))
			must(t, os.Chown(path, qemu, qemu))
			must(t, os.WriteFile(path+c.suffix, []byte(c.text), 0o600))
			must(t, os.Chown(path+c.suffix, c.owner, c.owner))
			check(t, path, c.words)
			if got := Foreign(path); (len(got) == 1) != (c.owner == stranger) {
				t.Errorf("foreign: %q", got)
			}
			must(t, Arrived(path))
			if _, err := os.Lstat(path + c.suffix); (err == nil) == (c.suffix == ArrivingSuffix && c.owner != stranger) {
				t.Errorf("after the arrival: %v", err)
			}
		})
	}
}

// Root's own files belong to somebody else on NFS: to who owns the directory, or the image.
func TestSquashedNote(t *testing.T) {
	asRoot(t)
	path := image(t)
	touch(t, path+ArrivingSuffix)
	must(t, os.Chown(path+ArrivingSuffix, stranger, stranger))
	must(t, os.Chown(filepath.Dir(path), stranger, stranger))
	check(t, path, "not finished")
}

// A broken note of our own is no leave to start, and says what to type.
func TestBrokenNote(t *testing.T) {
	for name, text := range map[string]string{"empty": "", "garbage": "\x00", "large": strings.Repeat(" ", 1<<20)} {
		path := image(t)
		must(t, os.WriteFile(path+NoteSuffix, []byte(text), 0o600))
		if err := Check(path); err == nil || !strings.Contains(err.Error(), "rm "+path+NoteSuffix) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A file that a person moved elsewhere, with a link in its place, still counts.
func TestLinkedNote(t *testing.T) {
	path := image(t)
	must(t, begin(t, path).Moved())
	must(t, os.Rename(path+NoteSuffix, path+".elsewhere"))
	must(t, os.Symlink("web.img.elsewhere", path+NoteSuffix))
	check(t, path, "went with the guest to node2")
}

// What is in the way of a note is moved, and not removed.
func TestInTheWay(t *testing.T) {
	path := image(t)
	must(t, planted["a full directory"](path+NoteSuffix))
	must(t, begin(t, path).Close())
	if got := beside(t, path); len(got) != 3 || !slices.Contains(got, NoteSuffix) {
		t.Errorf("left %q", got)
	}
	if n, err := ReadNote(path); err != nil || n.Stage != Copying {
		t.Errorf("%+v, %v", n, err)
	}
}

// Everybody who may read an image can lock it.
func TestForeignLock(t *testing.T) {
	asRoot(t)
	path := image(t)
	f, err := os.Open(path)
	must(t, err)
	defer func() { _ = f.Close() }()
	must(t, unix.Flock(int(f.Fd()), unix.LOCK_EX))
	must(t, begin(t, path).Close())
	if l, ok, err := Adopt(path); !ok || err != nil {
		t.Errorf("adopted: %v, %v", ok, err)
	} else {
		must(t, l.Moved())
	}
}

// An image that cannot be renamed after its guest has left is no truth, though nobody saw the copying end.
func TestImageThatCannotBeRenamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), strings.Repeat("x", 245)) // the name of the old copy would be too long
	touch(t, path)
	if err := begin(t, path).Moved(); err == nil {
		t.Error("it was renamed")
	}
	if n, err := ReadNote(path); err != nil || n.Stage != HandingOver {
		t.Errorf("noted %+v, %v", n, err)
	}
}
