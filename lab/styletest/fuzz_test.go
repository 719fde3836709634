package styletest

import (
	"os"
	"slices"
	"testing"
	"testing/fstest"
)

// TestCorpora holds the module to it that every fuzz target has a committed corpus.
func TestCorpora(t *testing.T) {
	files, err := Load(root(t))
	if err != nil {
		t.Fatal(err)
	}
	targets := FuzzTargets(files)
	if len(targets) < 50 {
		t.Fatalf("only %d fuzz targets were found", len(targets))
	}
	report(t, Corpora(targets, os.DirFS(root(t))))
}

func TestFuzzTargets(t *testing.T) {
	var files []*File
	for p, text := range map[string]string{
		"migrate/a_test.go": "package a\n\nfunc FuzzA(f *testing.F) {}\n\n" +
			"func FuzzB(f *testing.F) {}\n\nfunc (t) FuzzC() {}\n\nfunc TestFuzz(t *testing.T) {}\n",
		"migrate/a.go": "package a\n\nfunc FuzzD() {}\n",
	} {
		f, err := Parse(p, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	want := []FuzzTarget{{"migrate", "FuzzA"}, {"migrate", "FuzzB"}}
	if got := FuzzTargets(files); !slices.Equal(got, want) {
		t.Errorf("found %+v, want %+v", got, want)
	}
}

func TestCorporaRule(t *testing.T) {
	a := FuzzTarget{Dir: "migrate/x", Name: "FuzzA"}
	seed := &fstest.MapFile{Data: []byte("go test fuzz v1\nstring(\"\")\n")}
	for _, tt := range []struct {
		name  string
		files fstest.MapFS
		want  string
	}{
		{"with a corpus", fstest.MapFS{"migrate/x/testdata/fuzz/FuzzA/empty": seed}, ""},
		{"without", fstest.MapFS{"migrate/x/testdata/golden": seed}, "FuzzA has no corpus"},
		{"a renamed target's", fstest.MapFS{
			"migrate/x/testdata/fuzz/FuzzA/empty": seed, "migrate/x/testdata/fuzz/FuzzOld/empty": seed,
		}, "migrate/x/testdata/fuzz/FuzzOld:1: is the corpus of no fuzz target"},
		{"what was built", fstest.MapFS{
			"migrate/x/testdata/fuzz/FuzzA/empty": seed, "build/x/testdata/fuzz/FuzzOld/empty": seed,
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) { judge(t, Corpora([]FuzzTarget{a}, tt.files), tt.want) })
	}
}
