package notes

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

func TestStateSurvivesAnyID(t *testing.T) {
	f := Open(filepath.Join(t.TempDir(), "run"), "").Guests
	ids := []string{"vm1", "clone:0", "../../etc/passwd", ".", "..", ".tmp-x", "a b/ü%2F", "x.json"}
	for _, id := range ids {
		if err := f.Save(id, Guest{Guest: "g", UUID: "u", Resource: id, URI: "qemu:///system"}); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := f.All()
	if err != nil || len(entries) != len(ids) {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	for _, id := range ids {
		if err := errors.Join(f.Remove(id), f.Remove(id)); err != nil {
			t.Error(err)
		}
	}
	left, err := os.ReadDir(f.dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

func TestStateIsPrivate(t *testing.T) {
	f := Open(filepath.Join(t.TempDir(), "run"), "").Identities
	if err := f.Save("vm1", Identity{Name: "g"}); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]fs.FileMode{f.dir: 0o700, f.Path("vm1"): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want %v", path, info.Mode(), err, want)
		}
	}
}

// A note that says the same stays as old as it is; one that says something else is written again.
func TestSaveKeepsTheAge(t *testing.T) {
	f := Open(t.TempDir(), "").Guests
	g := Guest{Guest: "g", Resource: "r"}
	for _, c := range []struct {
		change func()
		old    bool
	}{
		{func() { g.UUID = "u" }, false},
		{func() {}, true},
	} {
		if err := f.Save("r", g); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(f.Path("r"), time.Time{}, time.Now().Add(-time.Hour)); err != nil {
			t.Fatal(err)
		}
		c.change()
		if err := f.Save("r", g); err != nil {
			t.Fatal(err)
		}
		age, known := f.Age("r")
		if got, err := f.Load("r"); !known || (age > time.Minute) != c.old || err != nil || !reflect.DeepEqual(got, g) {
			t.Errorf("%v old, %+v, %v", age, got, err)
		}
	}
}

// A note that is missing, is another user's or lacks what it must have is none; garbage may hide one.
func TestLoad(t *testing.T) {
	f := Open("", t.TempDir()).Intents
	if err := os.MkdirAll(filepath.Dir(f.Path("r")), 0o700); err != nil {
		t.Fatal(err)
	}
	for text, none := range map[string]bool{"": false, "{": false, "{}": true, `{"way":"out","peer":"n2"}`: false} {
		if err := os.WriteFile(f.Path("r"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		i, err := f.Load("r")
		if errors.Is(err, fs.ErrNotExist) != none || (err == nil) != (i.Peer == "n2") {
			t.Errorf("%q is %+v, %v", text, i, err)
		}
	}
	if _, err := f.Load("none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no note: %v", err)
	}
}
