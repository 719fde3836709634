package report

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files again")

// golden compares got with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (-update writes it again); got:\n%s", name, got)
	}
}

// strip takes the series out, as the JSON does.
func strip(r *Report) *Report {
	r.Schema = Schema
	for _, s := range r.Scenarios {
		for _, g := range s.Guests {
			g.UDP.Series, g.TCP.Series = nil, nil
		}
	}
	return r
}

func TestJSON(t *testing.T) {
	path := filepath.Join(t.TempDir(), "report.json")
	r := sample(2, 20, 45)
	if err := r.WriteJSON(path); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "report.json", b)
	back, err := ReadJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if want := strip(r); !reflect.DeepEqual(back, want) {
		t.Errorf("read back %+v\nwant %+v", back, want)
	}
}

func TestWriteJSONKeepsTheOldFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "report.json")
	if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	nan := sample(1, 50, 20)
	nan.Scenarios[0].Guests[0].UDP.BlackoutMS /= 0.0
	nan.Scenarios[0].Guests[0].UDP.BlackoutMS *= 0.0
	if err := nan.WriteJSON(path); err == nil {
		t.Error("a number that JSON does not have was written")
	}
	if b, _ := os.ReadFile(path); string(b) != "old" {
		t.Errorf("the old file became %q", b)
	}
	if err := (&Report{}).WriteJSON(path); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(path); !bytes.Contains(b, []byte(`"scenarios": []`)) {
		t.Errorf("no scenarios are written as %s", b)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("%d files are left in the directory (%v)", len(left), err)
	}
}

func TestReadJSONRefuses(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"nothing", "", "unexpected end"},
		{"other schema", `{"schema":2}`, "schema is 2, this program reads 1"},
		{"no schema", `{}`, "schema is 0"},
		{"no agent", `{"schema":1,"scenarios":[{"name":"crash"}]}`, "scenario 0 has no name or no agent"},
		{"no guest's name", `{"schema":1,"scenarios":[{"name":"crash","agent":"vmferry","guests":[{}]}]}`,
			"guest 0 has no name"},
		{"two reports", `{"schema":1}{"schema":1}`, "after top-level value"},
		{"wrong type", `{"schema":1,"scenarios":[{"passed":"yes"}]}`, "passed"},
		{"too large", strings.Repeat(" ", maxJSON+1), "larger than"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := ReadJSON(strings.NewReader(tt.in)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	if err := Check(filepath.Join(dir, "a", "b")); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "a", "b")); len(left) != 0 {
		t.Errorf("Check left %d files", len(left))
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Check(file); err == nil || !strings.Contains(err.Error(), "name one that can be written") {
		t.Errorf("got %v for a file in the directory's place", err)
	}
}

// FuzzReadJSON: whatever is taken can be shown in every form and reads back
// the same.
func FuzzReadJSON(f *testing.F) {
	seed, err := os.ReadFile(filepath.Join("testdata", "report.json"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte(`{"schema":1,"scenarios":[{"name":"n","agent":"a","guests":[{"guest":"\u001b[2J","udp":{"blackout_ms":-1e300}}]}]}`))
	f.Add([]byte(`{"schema":1,"commit":"","scenarios":null}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := ReadJSON(bytes.NewReader(in))
		if err != nil {
			return
		}
		var table, html bytes.Buffer
		if err := r.WriteTable(&table); err != nil {
			t.Fatal(err)
		}
		checkTable(t, table.String())
		if err := r.render(&html); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "r.json")
		if err := r.WriteJSON(path); err != nil {
			t.Skip("a time that JSON cannot write: ", err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ReadJSON(bytes.NewReader(b)); err != nil {
			t.Errorf("what was written cannot be read: %v", err)
		}
	})
}
