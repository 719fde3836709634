package notes

import (
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestExpectedGuestsToleratesGarbage(t *testing.T) {
	run := t.TempDir()
	dir := filepath.Join(run, "expected")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"b.json": `{"guest":"b","resource":"rb","uri":"xen:///system","announce":"off"}`,
		"a.json": `{"guest":"a","resource":"ra","uri":"qemu:///system"}`,
		"c.json": `{"guest":"c","resource":"rc"}`, "d.json": "{", "e.json": "", "note.txt": "x",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Open(run, "").Expected.All()
	want := []Expected{
		{Guest: "a", Resource: "ra", URI: "qemu:///system"},
		{Guest: "b", Resource: "rb", URI: "xen:///system", Announce: "off"},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
}

// What the parameter names for each guest, and how migrations reach a node.
func TestConfiguredAddresses(t *testing.T) {
	run := t.TempDir()
	if got := Open(run, "").ConfiguredAddresses(); len(got) > 0 {
		t.Errorf("without notes: %v", got)
	}
	dir := filepath.Join(run, "expected")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"a.json": `{"guest":"a","resource":"ra","uri":"qemu:///system","announce":"192.0.2.7,52:54:00:12:34:56=2001:db8::7"}`,
		"b.json": `{"guest":"b","resource":"rb","uri":"qemu:///system","announce":"agent"}`,
		"c.json": `{"guest":"c","resource":"rc","uri":"qemu:///system","announce":"of a newer agent"}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := map[netip.Addr]string{netip.MustParseAddr("192.0.2.7"): "a", netip.MustParseAddr("2001:db8::7"): "a"}
	if got := Open(run, "").ConfiguredAddresses(); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for node, want := range map[string]string{"n1": "n1-mig", "n1.example": "n1-mig.example", "192.0.2.1": "192.0.2.1"} {
		if got := (Expected{Suffix: "-mig"}).MigrationHost(node); got != want {
			t.Errorf("migrations reach %s by %s, want %s", node, got, want)
		}
	}
}
