package safefile

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/roottest"
)

const (
	stranger = 54321
	friend   = 4711
)

var asRoot, must = roottest.Need, roottest.Must

// kinds makes one entry of each kind in dir.
func kinds(t *testing.T, dir string) {
	t.Helper()
	at := func(name string) string { return filepath.Join(dir, name) }
	must(t, os.WriteFile(at("file"), []byte("text"), 0o600))
	must(t, os.WriteFile(at("large"), nil, 0o600))
	must(t, os.Truncate(at("large"), 10<<30))
	must(t, unix.Mkfifo(at("fifo"), 0o600))
	must(t, os.Mkdir(at("directory"), 0o700))
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: at("socket"), Net: "unix"})
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	must(t, os.Symlink("file", at("link")))
	must(t, os.Symlink("/dev/zero", at("endless")))
	must(t, os.Symlink("loop", at("loop")))
	must(t, os.Symlink("none", at("dangling")))

}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	kinds(t, dir)
	for name, want := range map[string]error{
		"file": nil, "link": nil, "none": fs.ErrNotExist, "dangling": fs.ErrNotExist, "loop": unix.ELOOP, "large": ErrTooLarge,
		"fifo": ErrNotFile, "directory": ErrNotFile, "socket": ErrNotFile,
	} {
		for _, by := range []Owners{Anyone, Only()} {
			began := time.Now()
			raw, err := Read(filepath.Join(dir, name), 4, by)
			if !errors.Is(err, want) || (err == nil) != (want == nil) || err == nil && string(raw) != "text" {
				t.Errorf("%s: %q, %v, want %v", name, raw, err, want)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("%s: took %v", name, took)
			}
		}
	}
}

// What has no end is not read at all.
func TestEndlessFile(t *testing.T) {
	dir := t.TempDir()
	kinds(t, dir)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, name := range []string{"endless", "large"} {
		if raw, err := Read(filepath.Join(dir, name), 1<<20, Anyone); err == nil || len(raw) > 0 {
			t.Errorf("%s: read %d bytes, %v", name, len(raw), err)
		}
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 16<<20 {
		t.Errorf("took %d MiB of memory", grown>>20)
	}
}

// Whose file and whose link it is decides.
func TestOwners(t *testing.T) {
	asRoot(t)
	dir := t.TempDir()
	for _, c := range []struct {
		name       string
		file, link int // their owners; -1 for no link
		by         Owners
		want       error
	}{
		{"root's", 0, -1, Only(), nil},
		{"a stranger's", stranger, -1, Only(), ErrForeign},
		{"a friend's", friend, -1, Only(friend), nil},
		{"anyone's", stranger, -1, Anyone, nil},
		{"root's link to root's", 0, 0, Only(), nil},
		{"root's link to a stranger's", stranger, 0, Only(), ErrForeign},
		{"a stranger's link to root's", 0, stranger, Only(), ErrForeign},
		{"a friend's link to root's", 0, friend, Only(friend), nil},
		{"anyone's link", stranger, stranger, Anyone, nil},
	} {
		path := filepath.Join(dir, strings.ReplaceAll(c.name, " ", "-"))
		must(t, os.WriteFile(path, []byte("text"), 0o600))
		must(t, os.Chown(path, c.file, 0))
		if c.link >= 0 {
			link := path + ".link"
			must(t, os.Symlink(path, link))
			must(t, os.Lchown(link, c.link, 0))
			path = link
		}
		raw, err := Read(path, 4, c.by)
		if !errors.Is(err, c.want) || NotOurs(err) != (c.want != nil) || err == nil && string(raw) != "text" {
			t.Errorf("%s: %q, %v, want %v", c.name, raw, err, c.want)
		}
	}
}

// The holder of a lease keeps an open that waits for it for 45 s.
func TestLeaseIsNotWaitedFor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	f, err := os.Create(path)
	must(t, err)
	defer func() { _ = f.Close() }()
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
		t.Skipf("no leases here: %v", err)
	}
	began := time.Now()
	if _, err := Read(path, 4, Anyone); !NotOurs(err) || time.Since(began) > 20*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}

func TestJudgeEntry(t *testing.T) {
	for _, c := range []struct {
		mode     fs.FileMode
		uid, gid uint32
		want     Access
		fix      string
	}{
		{0o700, 0, 0, Private, ""},
		{0o755, 0, friend, Private, ""},
		{0o775, 0, 0, Private, ""}, // root's own group
		{0o770, 0, friend, Exposed, "chmod go-w /s"},
		{0o777, 0, 0, Exposed, "chmod go-w /s"},
		{0o777 | fs.ModeSticky, 0, 0, Sticky, ""},
		{0o770 | fs.ModeSticky, 0, friend, Sticky, ""},
		{0o755 | fs.ModeSticky, 0, 0, Private, ""},
		{0o700, friend, 0, Private, ""},
		{0o700, stranger, 0, Exposed, "chown root /s"},
		{0o777 | fs.ModeSticky, stranger, 0, Exposed, "chown root /s"},
	} {
		a, why, fix := judgeEntry("/s", c.mode, c.uid, c.gid, Only(friend))
		if a != c.want || fix != c.fix || (why == "") != (c.want != Exposed) {
			t.Errorf("%v of %d:%d is %v, %q, %q, want %v, %q", c.mode, c.uid, c.gid, a, why, fix, c.want, c.fix)
		}
	}
}

// A directory is as safe as the least safe one on the way to it, links included.
func TestSurvey(t *testing.T) {
	base := t.TempDir()
	at := func(parts ...string) string { return filepath.Join(append([]string{base}, parts...)...) }
	for name, mode := range map[string]fs.FileMode{"safe": 0o700, "open": 0o777, "tmp": 0o777 | fs.ModeSticky} {
		must(t, os.Mkdir(at(name), mode))
		must(t, os.Chmod(at(name), mode))
		must(t, os.Mkdir(at(name, "below"), 0o700))
	}
	must(t, os.Symlink("safe", at("link")))
	must(t, os.Symlink(at("open"), at("safe", "out")))
	must(t, os.WriteFile(at("file"), nil, 0o600))
	for path, want := range map[string]Access{
		"safe": Private, "safe/below": Private, "open": Exposed, "open/below": Exposed, "tmp": Sticky, "tmp/below": Private,
		"link/below": Private, "safe/out/below": Exposed, "safe/../tmp": Sticky, "safe/./below/": Private,
	} {
		d, err := Survey(base+"/"+path, Only())
		if err != nil || d.Access != want || (d.Fix == "") != (want != Exposed) {
			t.Errorf("%s: %+v, %v, want %v", path, d, err, want)
		}
	}
	for _, path := range []string{"none", "file", "file/below"} {
		if d, err := Survey(at(path), Only()); err == nil {
			t.Errorf("%s: %+v", path, d)
		}
	}
	t.Chdir(base)
	if d, err := Survey("tmp", Only()); err != nil || d.Access != Sticky {
		t.Errorf("a relative path: %+v, %v", d, err)
	}
	must(t, os.Symlink("loop", at("loop")))
	if d, err := Survey(at("loop"), Only()); err == nil {
		t.Errorf("a loop: %+v", d)
	}
}

func TestSurveyOfOwners(t *testing.T) {
	asRoot(t)
	base := t.TempDir()
	path := filepath.Join(base, "saves")
	must(t, os.Mkdir(path, 0o700))
	must(t, os.Chown(path, friend, 0))
	link := filepath.Join(base, "link")
	must(t, os.Symlink(path, link))
	for _, c := range []struct {
		path  string
		by    Owners
		want  Access
		owned bool // by root alone
	}{{path, Only(), Exposed, false}, {path, Only(friend), Private, false}, {base, Only(friend), Private, true}} {
		d, err := Survey(c.path, c.by)
		if err != nil || d.Access != c.want || d.Owned(Only()) != c.owned {
			t.Errorf("%s: %+v, %v, want %v", c.path, d, err, c.want)
		}
	}
	must(t, os.Lchown(link, stranger, 0))
	if d, err := Survey(link, Only(friend)); err != nil || d.Access != Exposed || d.Fix != "chown -h root "+link {
		t.Errorf("a stranger's link: %+v, %v", d, err)
	}
}

func TestSurveyFile(t *testing.T) {
	asRoot(t)
	base := t.TempDir()
	at := func(parts ...string) string { return filepath.Join(append([]string{base}, parts...)...) }
	for name, mode := range map[string]fs.FileMode{"safe": 0o700, "open": 0o777, "tmp": 0o777 | fs.ModeSticky} {
		must(t, os.Mkdir(at(name), mode))
		must(t, os.Chmod(at(name), mode))
		must(t, os.WriteFile(at(name, "file"), nil, 0o644))
		must(t, os.WriteFile(at(name, "all"), nil, 0o644))
		must(t, os.Chmod(at(name, "all"), 0o666))
		must(t, os.WriteFile(at(name, "theirs"), nil, 0o644))
		must(t, os.Chown(at(name, "theirs"), stranger, 0))
	}
	must(t, os.Symlink("open/file", at("link")))
	must(t, os.Symlink("../safe/file", at("tmp", "link")))
	must(t, os.Lchown(at("tmp", "link"), stranger, 0))
	for path, fix := range map[string]string{
		"safe/file": "", "tmp/file": "", "safe/all": "chmod go-w " + at("safe/all"),
		"safe/theirs": "chown -h root " + at("safe/theirs"),
		"open/file":   "chmod go-w " + at("open"), "link": "chmod go-w " + at("open"),
		"tmp/link": "chown -h root " + at("tmp/link") + " " + at("safe/file"),
	} {
		d, err := SurveyFile(at(path), Only())
		if err != nil || d.Fix != fix || (d.Access == Private) != (fix == "") {
			t.Errorf("%s: %+v, %v, want %q", path, d, err, fix)
		}
	}
	if _, err := SurveyFile(at("none"), Only()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func TestMaker(t *testing.T) {
	dir := t.TempDir()
	if uid, err := Maker(dir); err != nil || uid != uint32(os.Geteuid()) {
		t.Errorf("%d, %v", uid, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
	if _, err := Maker(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func TestMakeDir(t *testing.T) {
	base := t.TempDir()
	path := filepath.Join(base, "a", "b")
	for range 2 {
		if err := MakeDir(path); err != nil {
			t.Error(err)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
	for _, mode := range []fs.FileMode{0o777, 0o777 | fs.ModeSticky} {
		must(t, os.Chmod(path, mode))
		if err := MakeDir(path); err == nil || !strings.Contains(err.Error(), "type chmod go-w "+path) {
			t.Errorf("%v: %v", mode, err)
		}
	}
}
