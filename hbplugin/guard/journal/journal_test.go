package journal

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestAppend(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", File)
	if all, err := Read(path, 9); err != nil || len(all) != 0 {
		t.Errorf("no file: %v, %v", all, err)
	}
	e := Event{Time: time.Date(2026, 11, 29, 2, 0, 0, 0, time.UTC), Node: "alpha", Kind: Fenced, Target: "beta",
		Generation: 7, Guests: 3, Evidence: "node 2 has surrendered generation 7", DurationMS: 2100}
	for range 3 {
		if err := Append(path, e); err != nil {
			t.Fatal(err)
		}
		e.Generation++
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"schema":1,"node":"al`); err != nil { // its writer was killed
		t.Fatal(err)
	}
	_ = f.Close()
	if err := Append(path, e); err != nil {
		t.Fatal(err)
	}
	all, err := Read(path, 2)
	e.Schema = Schema
	if err != nil || len(all) != 2 || !reflect.DeepEqual(all[1], e) || all[0].Generation != 9 {
		t.Errorf("%+v, %v", all, err)
	}
	text, err := os.ReadFile(path)
	const first = `{"schema":1,"time":"2026-11-29T02:00:00Z","node":"alpha","event":"fenced","target":"beta",` +
		`"generation":7,"guests":3,"evidence":"node 2 has surrendered generation 7","duration_ms":2100}` + "\n"
	if err != nil || !strings.HasPrefix(string(text), first) {
		t.Errorf("%s, %v", text, err)
	}
}

// The file stays bounded, and keeps the newest events.
func TestShorten(t *testing.T) {
	path := filepath.Join(t.TempDir(), File)
	e := Event{Kind: NotFenced, Evidence: strings.Repeat("x", 300<<10)}
	for e.Generation = 1; e.Generation < 20; e.Generation++ {
		if err := Append(path, e); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(path)
	all, readErr := Read(path, 99)
	if err != nil || readErr != nil || info.Size() > 2*maxSize || len(all) == 0 || len(all) > 6 {
		t.Fatalf("%v bytes, %d events, %v, %v", info.Size(), len(all), err, readErr)
	}
	for i, got := range all {
		if want := uint64(20 - len(all) + i); got.Generation != want {
			t.Errorf("event %d is of generation %d, want %d", i, got.Generation, want)
		}
	}
}

func TestAppendFails(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Append(filepath.Join(dir, "file", File), Event{}); err == nil || !strings.Contains(err.Error(), "append to") {
		t.Errorf("%v", err)
	}
}
