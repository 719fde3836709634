package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sirupsen/logrus/hooks/test"
)

// A watchdog that is armed is fed, whatever guard.toml names by now.
func TestWatchdogOf(t *testing.T) {
	for _, c := range []struct{ note, configured, want string }{
		{"", "", ""},
		{"", "/dev/watchdog0", "/dev/watchdog0"},
		{"/dev/watchdog0\n", "/dev/watchdog0", "/dev/watchdog0"},
		{"/dev/watchdog0\n", "", "/dev/watchdog0"},
		{"/dev/watchdog0\n", "/dev/watchdog1", "/dev/watchdog0"},
	} {
		note := filepath.Join(t.TempDir(), "note")
		if c.note != "" {
			if err := os.WriteFile(note, []byte(c.note), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		log, hook := test.NewNullLogger()
		w, err := watchdogOf(c.configured, note, time.Second, log)
		got := ""
		if w != nil {
			got = w.path
		}
		if err != nil || got != c.want || (len(hook.Entries) > 0) != (got != c.configured) || w.declared() != 0 {
			t.Errorf("armed %q, guard.toml names %q: %q, %v, %d lines", c.note, c.configured, got, err, len(hook.Entries))
		}
	}
}

// A watchdog that cannot be armed is not noted, unless a guard had armed it before. One that was left armed is not
// touched while guests have to be killed.
func TestArmNotes(t *testing.T) {
	note := filepath.Join(t.TempDir(), "note")
	w := &watchdog{path: filepath.Join(t.TempDir(), "none"), note: note, timeout: time.Second}
	if w.begin(true) == nil || w.feed() == nil {
		t.Error("what is not there is armed")
	}
	if _, err := os.Stat(note); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is noted: %v", err)
	}
	w.left = true
	if err := w.begin(true); err != nil {
		t.Errorf("it is touched: %v", err)
	}
	if w.begin(false) == nil {
		t.Error("what is not there is armed")
	}
	if raw, err := os.ReadFile(note); err != nil || string(raw) != w.path+"\n" {
		t.Errorf("%q, %v", raw, err)
	}
	if w.declared() != 0 || w.disarm() != nil {
		t.Error("it counts as armed")
	}
}
