package lab

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmferry/vmferry/lab/supervisor"
)

func TestParseStartTime(t *testing.T) {
	const fields = " S 1 2 3 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 "
	for _, test := range []struct {
		stat string
		want uint64
		ok   bool
	}{
		{"42 (vmferry-lab)" + fields + "98765 1000 2", 98765, true},
		{"42 (a) b) c)" + fields + "7 1 2", 7, true}, // a name that looks like the end of one
		{"42 (short) S 1 2", 0, false},
		{"42 no name", 0, false},
		{"", 0, false},
	} {
		got, err := parseStartTime(test.stat)
		if got != test.want || (err == nil) != test.ok {
			t.Errorf("%q: got %d, %v", test.stat, got, err)
		}
	}
	if start, err := startTime(os.Getpid()); err != nil || start == 0 {
		t.Errorf("this process: %d, %v", start, err)
	}
}

func FuzzParseStartTime(f *testing.F) {
	f.Add("42 (x) S 1 2 3 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1000 2")
	f.Add(") ")
	f.Fuzz(func(t *testing.T, stat string) {
		if start, err := parseStartTime(stat); err != nil && start != 0 {
			t.Error("an error and a time")
		}
	})
}

func TestCleanKeepsOtherPeoplesFolders(t *testing.T) {
	l := &Lab{Dir: t.TempDir()}
	precious := filepath.Join(l.Dir, "thesis.tex")
	if err := os.WriteFile(precious, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.clean(); err == nil || !strings.Contains(err.Error(), "thesis.tex") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(precious); err != nil {
		t.Error(err)
	}
}

func TestCleanOfNothing(t *testing.T) {
	l := &Lab{Dir: filepath.Join(t.TempDir(), "none")}
	if err := l.clean(); err != nil {
		t.Error(err)
	}
}

func TestSupervisorIsNotMistaken(t *testing.T) {
	l := &Lab{Dir: t.TempDir()}
	if _, err := l.supervisor(); err != ErrNotUp {
		t.Errorf("no file: %v", err)
	}
	if err := l.remember(os.Getpid()); err != nil {
		t.Fatal(err)
	}
	if pid, err := l.supervisor(); err != nil || pid != os.Getpid() {
		t.Errorf("got %d, %v", pid, err)
	}
	// The same process id in another life is another process.
	if err := os.WriteFile(l.lifeFile(), []byte(`{"pid":1,"start":4}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := l.supervisor(); err != ErrNotUp {
		t.Errorf("another life: %v", err)
	}
	if err := os.WriteFile(l.lifeFile(), []byte("malformed"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := l.supervisor(); err == nil || err == ErrNotUp {
		t.Errorf("malformed: %v", err)
	}
}

func TestGroundworkOf(t *testing.T) {
	for _, name := range []string{supervisor.QEMU, supervisor.Xen} {
		pre, err := prerequisitesOf(name)
		if err != nil || len(pre.image.Packages) == 0 {
			t.Errorf("%s: %+v, %v", name, pre, err)
		}
	}
	l := Lab{Dir: t.TempDir(), Cache: t.TempDir(), Hypervisor: "bhyve"}
	if err := l.Up(t.Context()); err == nil || !strings.Contains(err.Error(), "use qemu or xen") {
		t.Errorf("got %v", err)
	}
}

func TestCheckHostNamesAPackageOnce(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root gets that far")
	}
	err := checkHost([]need{{"no-such-program", "some-package"}, {"nor-this-one", "some-package"}})
	if err == nil || strings.Count(err.Error(), "some-package") != 1 {
		t.Errorf("got %v", err)
	}
}
