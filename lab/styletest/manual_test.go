package styletest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Each message under DIAGNOSTICS of a manual is one that a program writes: an operator searches the manual for it.
func TestManualsHaveTheMessages(t *testing.T) {
	dir := root(t)
	files, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	var code strings.Builder
	for _, f := range files {
		if !f.Test() {
			code.Write(f.Text)
		}
	}
	pages, err := filepath.Glob(filepath.Join(dir, "cmd/*/*.[1578]"))
	if err != nil || len(pages) == 0 {
		t.Fatal(pages, err)
	}
	found := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		_, list, _ := strings.Cut(string(text), ".Bl -diag\n")
		list, _, _ = strings.Cut(list, "\n.El")
		for _, m := range regexp.MustCompile(`(?m)^\.It "(.*)"$`).FindAllStringSubmatch(list, -1) {
			found++
			for part := range strings.SplitSeq(m[1], "...") {
				// A number stands for any.
				part = strings.Trim(regexp.MustCompile(`\d.*`).ReplaceAllString(part, ""), " :")
				if !strings.Contains(code.String(), part) {
					t.Errorf("%s: no program writes %q", filepath.Base(page), part)
				}
			}
		}
	}
	if found < 10 {
		t.Errorf("only %d messages were found", found)
	}
}

// ARCHITECTURE.md names each package of the product.
func TestArchitectureNamesThePackages(t *testing.T) {
	dir := root(t)
	files, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, ".github/ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if filepath.Base(f.Path) != "doc.go" || layer(f.Dir()) > layer("hbplugin") || strings.HasSuffix(f.Dir(), "test") {
			continue
		}
		if !strings.Contains(string(text), "`"+f.Dir()+"`") &&
			!strings.Contains(string(text), "`"+filepath.Base(f.Dir())+"`") {
			t.Errorf("%s is not in ARCHITECTURE.md", f.Dir())
		}
	}
}
