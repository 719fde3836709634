package resource

import (
	"context"
	"errors"
	"os"
	"path/filepath"
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
		{"renamed, as while it comes in", "a.json", note, []hostproc.Process{{Name: "a--incoming", UUID: uuid}}, []string{"rsc-a"}},
		{"another guest of its name", "a.json", note, []hostproc.Process{{Name: "a", UUID: "bbbbbbbb-0000-4000-8000-000000000001"}}, nil},
		{"a process without a UUID goes by its name", "a.json", note, []hostproc.Process{{Name: "a"}}, []string{"rsc-a"}},
		{"a note without a UUID goes by its name", "a.json", nameful, []hostproc.Process{{Name: "a", UUID: uuid}}, []string{"rsc-a"}},
		{"two without a UUID are not one for that", "a.json", nameful, []hostproc.Process{{Name: "b"}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if c.file != "" {
				if err := os.WriteFile(filepath.Join(dir, c.file), []byte(c.note), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got, err := Present(t.Context(), dir, func(context.Context, ...string) ([]hostproc.Process, error) { return c.alive, nil })
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%q, %v; want %q", got, err, c.want)
			}
		})
	}
}

func TestPresentCannotTell(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.json"), []byte(`{"guest":"a","resource":"rsc-a","uri":"xen:///system"}`), 0o600); err != nil {
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
