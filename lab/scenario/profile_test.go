package scenario

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/lab/guest"
)

// A guest on Xen has two descriptions and no disk: nobody is asked for one.
func TestMakeGuestsOnXen(t *testing.T) {
	shared := t.TempDir()
	guests, err := MakeGuests(t.Context(), &cluster.Cluster{Hypervisor: cluster.Xen}, shared, 2)
	if err != nil || len(guests) != 2 {
		t.Fatal(guests, err)
	}
	want := Guest{cluster.Guest{Name: "vm2", Config: "/shared/guests/vm2.xml", XMFile: "/shared/guests/vm2.cfg"},
		"10.77.0.102", "766d6665-7272-4000-9000-000000000002"}
	if !reflect.DeepEqual(guests[1], want) {
		t.Errorf("got %+v", guests[1])
	}
	for _, name := range []string{"vm2.xml", "vm2.cfg"} {
		text, err := os.ReadFile(filepath.Join(shared, "guests", name))
		if err != nil || !strings.Contains(string(text), OwnBoot+"/vmlinuz") ||
			!strings.Contains(string(text), want.UUID) {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
	}
}

// The definition of a guest has the initramfs of its kind, from the folder of its profile.
func TestMakeGuestsWithAGame(t *testing.T) {
	shared := t.TempDir()
	disk := filepath.Join(shared, "guests", "game24.qcow2")
	if err := os.MkdirAll(filepath.Dir(disk), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(disk, nil, 0o600); err != nil { // so that nobody is asked for one
		t.Fatal(err)
	}
	kind := Kind{Name: "game", First: 24, MemoryMiB: guest.GameMemoryMiB, Game: true}
	if _, err := kind.Make(t.Context(), &cluster.Cluster{Hypervisor: cluster.QEMU}, shared, 1); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(shared, "guests", "game24.xml"))
	if err != nil || !strings.Contains(string(text), "/shared/boot/initrd-game<") {
		t.Errorf("%v\n%s", err, text)
	}
}

func TestNamed(t *testing.T) {
	for _, b := range baselines {
		if got := named(b.commands, "vm1"); strings.Contains(got, "%") || strings.Count(got, "vm1") == 0 {
			t.Errorf("%s: %q", b.name, got)
		}
	}
}
