package styletest

import (
	"os"
	"path/filepath"
	"testing"
)

// root is the module's directory, found upwards from the test's.
func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("no go.mod above the test's directory")
		}
		dir = up
	}
}

// TestModule holds the whole module to every rule.
func TestModule(t *testing.T) {
	files, err := Load(root(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 10 {
		t.Fatalf("only %d files were found", len(files))
	}
	for name, rule := range map[string]func(*File) []string{
		"documented": Documented, "short": Short, "formatted": Formatted,
		"arrows": Arrows, "no shell": NoShell, "no calendar": NoCalendar,
	} {
		t.Run(name, func(t *testing.T) {
			for _, f := range files {
				report(t, rule(f))
			}
		})
	}
	t.Run("introduced", func(t *testing.T) { report(t, Introduced(files)) })
	t.Run("no sleep", func(t *testing.T) { report(t, NoSleep(files)) })
}

func TestRepository(t *testing.T) {
	entries, err := os.ReadDir(root(t))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	report(t, TopLevel(names))
}

func report(t *testing.T, findings []string) {
	t.Helper()
	for _, f := range findings {
		t.Error(f)
	}
}

func TestLoadSkips(t *testing.T) {
	dir := t.TempDir()
	for _, p := range []string{"a/a.go", "a/testdata/b.go", "build/c.go", ".git/d.go", "_x/e.go"} {
		p = filepath.Join(dir, p)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte("package a\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	files, err := Load(dir)
	if err != nil || len(files) != 1 || files[0].Path != "a/a.go" {
		t.Errorf("loaded %v (%v), want a/a.go alone", files, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bad.go"), []byte("pack"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err == nil {
		t.Error("a file that is no Go was taken")
	}
}
