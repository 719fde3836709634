package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func FuzzLoadConfig(f *testing.F) {
	f.Add("window = \"10m\"\n")
	path := filepath.Join(f.TempDir(), "vmferryd.toml")
	f.Fuzz(func(t *testing.T, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := loadConfig(path)
		if err != nil && (!strings.Contains(err.Error(), path) || c.Manager != "") {
			t.Errorf("%+v, %v", c, err)
		}
		if err == nil && !slices.Contains([]string{managerAuto, managerPacemaker, managerHeartbeat}, c.Manager) {
			t.Errorf("%q was taken for %+v", text, c)
		}
	})
}
