package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/vmferry/vmferry/resource/hostproc"
	"github.com/vmferry/vmferry/resource/hostproc/hostproctest"
	"github.com/vmferry/vmferry/resource/notes"
)

// notedHere is a node whose notes and procfs a test has laid out.
type notedHere struct {
	dir  string
	list func(ctx context.Context, uris ...string) ([]hostproc.Process, error)
	host hostproc.Host
}

func (w notedHere) Here(ctx context.Context) ([]string, error) {
	return notes.Present(ctx, w.dir, w.list)
}

// notedNode lays out the agent's notes and the processes of a node.
func notedNode(t *testing.T, noted, cmdlines map[string]string) notedHere {
	t.Helper()
	w := notedHere{host: hostproc.Host{Proc: t.TempDir(), Run: t.TempDir()}}
	w.dir = t.TempDir()
	w.list = func(ctx context.Context, _ ...string) ([]hostproc.Process, error) { return w.host.List(ctx) }
	process(t, w, "1", "/sbin/init")
	for name, text := range noted {
		put(t, filepath.Join(w.dir, name), text)
	}
	for pid, line := range cmdlines {
		process(t, w, pid, line)
	}
	return w
}

// process adds one to the node's procfs.
func process(t *testing.T, w notedHere, pid, line string) {
	t.Helper()
	n, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := (hostproctest.Process{PID: n, Comm: "x",
		Cmdline: strings.Split(line, " ")}).Write(w.host.Proc); err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

const noteA = `{"guest":"a","uuid":"AAAAAAAA-0000-4000-8000-000000000001","resource":"rsc-a","uri":"qemu:///system"}`
const qemuA = "/usr/bin/qemu-system-x86_64 -name guest=a -uuid aaaaaaaa-0000-4000-8000-000000000001 -S"

func TestHere(t *testing.T) {
	for _, tt := range []struct {
		name            string
		notes, cmdlines map[string]string
		want            []string
	}{
		{"nothing", nil, nil, nil},
		{"noted and alive", map[string]string{"a.json": noteA}, map[string]string{"7": qemuA}, []string{"rsc-a"}},
		{"noted and dead", map[string]string{"a.json": noteA}, map[string]string{"7": "/sbin/init"}, nil},
		{"alive and not ours", nil, map[string]string{"7": qemuA}, nil},
		{"another QEMU", map[string]string{"a.json": noteA},
			map[string]string{"7": "qemu-system-x86_64 -name guest=b -uuid bbbbbbbb-0000-4000-8000-000000000001"}, nil},
		{"a viewer of the guest", map[string]string{"a.json": noteA}, map[string]string{
			"7": "less -uuid aaaaaaaa-0000-4000-8000-000000000001",
		}, nil},
		{"incoming", map[string]string{"a.json": noteA}, map[string]string{"7": qemuA + " -incoming defer"},
			[]string{"rsc-a"}},
		{"a note without a UUID goes by its name", map[string]string{"a.json": `{"guest":"a","resource":"rsc-a"}`},
			map[string]string{"7": qemuA}, []string{"rsc-a"}},
		{"a note without a UUID, another guest", map[string]string{"a.json": `{"guest":"a","resource":"rsc-a"}`},
			map[string]string{"7": "qemu-system-x86_64 -name guest=b"}, nil},
		{"no note", map[string]string{"a.json": "{"}, map[string]string{"7": qemuA}, nil},
		{"a note being written", map[string]string{"a.json.tmp": "{"}, map[string]string{"7": qemuA}, nil},
		{"a process without a UUID goes by its name", map[string]string{"a.json": noteA},
			map[string]string{"7": "qemu-system-x86_64 -name guest=a"}, []string{"rsc-a"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := notedNode(t, tt.notes, tt.cmdlines).Here(t.Context())
			if err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("%q, %v; want %q", got, err, tt.want)
			}
		})
	}
}

func TestHereCannotTell(t *testing.T) {
	w := notedNode(t, map[string]string{"a.json": noteA}, nil)
	put(t, filepath.Join(w.host.Proc, "7", "stat", "x"), "a directory cannot be read")
	if _, err := w.Here(t.Context()); err == nil {
		t.Error("a process cannot be read, and yet an answer")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := notedNode(t, map[string]string{"a.json": noteA}, map[string]string{"7": qemuA}).Here(ctx); err == nil {
		t.Error("out of time, and yet an answer")
	}
}
