package resource

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/vmferry/vmferry/resource/ocf"
	"github.com/vmferry/vmferry/resource/ocf/metadata"
)

func TestStateSurvivesAnyID(t *testing.T) {
	d := stateDir(filepath.Join(t.TempDir(), "run"))
	ids := []string{"vm1", "clone:0", "../../etc/passwd", ".", "..", ".tmp-x", "a b/ü%2F", "x.json"}
	for _, id := range ids {
		if err := d.hold(Entry{Guest: "g", UUID: "u", Resource: id, URI: "qemu:///system"}); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := Guests(filepath.Join(string(d), guestsDir))
	if err != nil || len(entries) != len(ids) {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	for _, id := range ids {
		if err := errors.Join(d.release(id), d.release(id)); err != nil {
			t.Error(err)
		}
	}
	left, err := os.ReadDir(filepath.Join(string(d), guestsDir))
	if err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

func TestStateIsPrivate(t *testing.T) {
	d := stateDir(filepath.Join(t.TempDir(), "run"))
	if err := d.save(resourcesDir, "vm1", identity{Name: "g"}); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]fs.FileMode{filepath.Join(string(d), resourcesDir): 0o700, d.file(resourcesDir, "vm1"): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want %v", path, info.Mode(), err, want)
		}
	}
}

func TestGuestsToleratesGarbage(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"b.json": `{"guest":"b","uuid":"","resource":"rb","uri":"qemu:///system"}`,
		"a.json": `{"guest":"a","resource":"ra","unknown":1}`,
		"c.json": "", "d.json": "{", "e.json": `{"guest":"e"}`, "f.json": "[]", "g.json": "\x00\xff", ".tmp-1": `{"guest":"t","resource":"t"}`, "note.txt": "x",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "h.json"), 0o700); err != nil {
		t.Fatal(err)
	}
	got, err := Guests(dir)
	want := []Entry{{Guest: "a", Resource: "ra"}, {Guest: "b", Resource: "rb", URI: "qemu:///system"}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("Guests = %+v, %v, want %+v", got, err, want)
	}
	if none, err := Guests(filepath.Join(dir, "none")); err != nil || none != nil {
		t.Errorf("no directory: %v, %v", none, err)
	}
	if _, err := Guests(filepath.Join(dir, "b.json")); err == nil {
		t.Error("a file in place of the directory is no error")
	}
}

func FuzzParseEntry(f *testing.F) {
	f.Add([]byte(`{"guest":"b","uuid":"","resource":"rb","uri":"qemu:///system"}`))
	f.Add([]byte(`{"guest":1}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if e, ok := parseEntry(raw); ok && (e.Guest == "" || e.Resource == "") {
			t.Errorf("parseEntry(%q) = %+v", raw, e)
		}
	})
}

// What is advertised is done, and the other way round.
func TestMetaDataNamesWhatIsThere(t *testing.T) {
	text := metadata.XML()
	for action := range actions {
		if !ocf.IsAction(action) {
			t.Errorf("action %s is refused before anybody looks", action)
		}
		line := regexp.MustCompile(fmt.Sprintf(`<action name="%s" (depth="0" )?timeout="%.0fs"`, action, metadata.Timeout(action).Seconds()))
		if !line.MatchString(text) {
			t.Errorf("action %s is not advertised with its default timeout %v", action, metadata.Timeout(action))
		}
	}
}

// A resource that was taken out of the configuration is stopped without its parameters.
func TestStopWithoutParameters(t *testing.T) {
	for _, c := range []struct {
		name, action string
		noted        bool
		want         ExitCode
	}{
		{"stop", "stop", true, Success},
		{"monitor", "monitor", true, Success},
		{"start", "start", true, Configured},
		{"stop, never seen here", "stop", false, Configured},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, c.action)
				w.boot()
				if c.noted {
					err, _ := w.run("monitor")
					checkExit(t, err, Success, "")
				}
				bare := ParseEnviron([]string{"OCF_RESOURCE_INSTANCE=res1", "OCF_RESKEY_CRM_meta_timeout=40000"})
				w.agent.Environ = bare
				err, _ := w.run(c.action)
				checkExit(t, err, c.want, "")
				if gone := !w.there; gone != (c.action == "stop" && c.want == Success) {
					t.Errorf("the guest is gone: %v", gone)
				}
			})
		})
	}
}
