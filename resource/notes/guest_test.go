package notes

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/vmferry/vmferry/resource/hostproc"
)

func TestPresent(t *testing.T) {
	const (
		uuid    = "aaaaaaaa-0000-4000-8000-000000000001"
		note    = `{"guest":"a","uuid":"AAAAAAAA-0000-4000-8000-000000000001","resource":"rsc-a","uri":"qemu:///system"}`
		nameful = `{"guest":"a","resource":"rsc-a"}`
	)
	for _, c := range []struct {
		name, file, note string
		alive            []hostproc.Process
		want             []string
	}{
		{"no note", "", "", []hostproc.Process{{Name: "a", UUID: uuid}}, nil},
		{"a note being written", "a.json.tmp", note, []hostproc.Process{{Name: "a", UUID: uuid}}, nil},
		{"garbage", "a.json", "{", []hostproc.Process{{Name: "a", UUID: uuid}}, nil},
		{"noted and alive", "a.json", note, []hostproc.Process{{Name: "a", UUID: uuid}}, []string{"rsc-a"}},
		{"noted and dead", "a.json", note, nil, nil},
		{"renamed, as while it comes in", "a.json", note,
			[]hostproc.Process{{Name: "a--incoming", UUID: uuid}}, []string{"rsc-a"}},
		{"another guest of its name", "a.json", note,
			[]hostproc.Process{{Name: "a", UUID: "bbbbbbbb-0000-4000-8000-000000000001"}}, nil},
		{"a process without a UUID goes by its name", "a.json", note,
			[]hostproc.Process{{Name: "a"}}, []string{"rsc-a"}},
		{"a note without a UUID goes by its name", "a.json", nameful,
			[]hostproc.Process{{Name: "a", UUID: uuid}}, []string{"rsc-a"}},
		{"two without a UUID are not one for that", "a.json", nameful, []hostproc.Process{{Name: "b"}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if c.file != "" {
				if err := os.WriteFile(filepath.Join(dir, c.file), []byte(c.note), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			list := func(context.Context, ...string) ([]hostproc.Process, error) { return c.alive, nil }
			got, err := Present(t.Context(), dir, list)
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%q, %v; want %q", got, err, c.want)
			}
		})
	}
}

func TestPresentCannotTell(t *testing.T) {
	dir := t.TempDir()
	note := `{"guest":"a","resource":"rsc-a","uri":"xen:///system"}`
	if err := os.WriteFile(filepath.Join(dir, "a.json"), []byte(note), 0o600); err != nil {
		t.Fatal(err)
	}
	blind := errors.New("a process cannot be read")
	_, err := Present(t.Context(), dir, func(_ context.Context, uris ...string) ([]hostproc.Process, error) {
		if !slices.Equal(uris, []string{"xen:///system"}) {
			t.Errorf("asked for %q", uris)
		}
		return nil, blind
	})
	if !errors.Is(err, blind) {
		t.Errorf("got %v", err)
	}
}

func TestGuestsToleratesGarbage(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"b.json": `{"guest":"b","uuid":"","resource":"rb","uri":"qemu:///system"}`,
		"a.json": `{"guest":"a","resource":"ra","unknown":1,"params":{"config":"/a.xml"}}`,
		"c.json": "", "d.json": "{", "e.json": `{"guest":"e"}`, "f.json": "[]", "g.json": "\x00\xff",
		".tmp-1": `{"guest":"t","resource":"t"}`, "note.txt": "x",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "h.json"), 0o700); err != nil {
		t.Fatal(err)
	}
	got, err := GuestsIn(dir).All()
	want := []Guest{{Guest: "a", Resource: "ra", Params: map[string]string{"config": "/a.xml"}}, {Guest: "b", Resource: "rb", URI: "qemu:///system"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("guests %+v, %v, want %+v", got, err, want)
	}
	if none, err := GuestsIn(filepath.Join(dir, "none")).All(); err != nil || none != nil {
		t.Errorf("no directory: %v, %v", none, err)
	}
	if _, err := GuestsIn(filepath.Join(dir, "b.json")).All(); err == nil {
		t.Error("a file in place of the directory is no error")
	}
}

func FuzzDecodeGuest(f *testing.F) {
	f.Add([]byte(`{"guest":"b","uuid":"","resource":"rb","uri":"qemu:///system"}`))
	f.Add([]byte(`{"guest":1}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if g, err := decode[Guest](raw); err == nil && (g.Guest == "" || g.Resource == "") {
			t.Errorf("decode(%q) = %+v", raw, g)
		}
	})
}
