package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestGuardIn(t *testing.T) {
	dir := t.TempDir()
	config, socket := filepath.Join(dir, "guard.toml"), filepath.Join(dir, "guard.sock")
	if guardIn(config, socket) != nil {
		t.Error("a guard is asked where none is set up")
	}
	if err := os.WriteFile(config, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ask := guardIn(config, socket)
	if ask == nil {
		t.Fatal("no guard is asked where one is set up")
	}
	if err := ask(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "type systemctl start vmferry-guard") {
		t.Errorf("no guard runs: %v", err)
	}
	// What cannot be looked at, as below a file, may be a configuration.
	if guardIn(filepath.Join(config, "guard.toml"), socket) == nil {
		t.Error("a configuration that cannot be looked at is taken for none")
	}
}
