package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
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
		got, err := watchdogOf(c.configured, note, log)
		if err != nil || got != c.want || (len(hook.Entries) > 0) != (got != c.configured) {
			t.Errorf("armed %q, guard.toml names %q: %q, %v, %d lines", c.note, c.configured, got, err, len(hook.Entries))
		}
	}
}

// A watchdog that cannot be armed is not noted, unless a guard had armed it before.
func TestArmNotes(t *testing.T) {
	note := filepath.Join(t.TempDir(), "note")
	if _, _, err := arm(filepath.Join(t.TempDir(), "none"), note, time.Second); err == nil {
		t.Fatal("what is not there is armed")
	}
	if _, err := os.Stat(note); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is noted: %v", err)
	}
	if err := os.WriteFile(note, []byte("/dev/watchdog0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := arm(filepath.Join(t.TempDir(), "none"), note, time.Second); err == nil {
		t.Fatal("what is not there is armed")
	}
	if raw, err := os.ReadFile(note); err != nil || !strings.HasSuffix(string(raw), "none\n") {
		t.Errorf("%q, %v", raw, err)
	}
}
