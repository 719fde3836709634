package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func FuzzLoadKnown(f *testing.F) {
	f.Add("window = \"10m\"\n")
	path := filepath.Join(f.TempDir(), "vmferryd.toml")
	f.Fuzz(func(t *testing.T, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := LoadKnown(path)
		if err != nil && (!strings.Contains(err.Error(), path) || c.Manager != "") {
			t.Errorf("%+v, %v", c, err)
		}
		if err == nil && !slices.Contains(managers, c.Manager) {
			t.Errorf("%q was taken for %+v", text, c)
		}
	})
}

// A setting of another release is no reason not to say where the guests are.
func TestLoadKnown(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vmferryd.toml")
	if err := os.WriteFile(path, []byte("window = \"5m\"\nnovelty = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := LoadKnown(path); err != nil || c.Window != 5*time.Minute {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), `"novelty": there is no such setting`) {
		t.Errorf("vmferryd takes it: %v", err)
	}
}
