package scenario

import (
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/lab/guest"
)

func TestKindSpec(t *testing.T) {
	kind := Kind{Name: "ten", First: 31, MemoryMiB: 128, DirtyMiB: 16, DirtySetMiB: 32}
	last := kind.Spec(9)
	if last.Name != "ten40" || last.IP != "10.77.0.140/24" || last.MAC != "52:54:00:76:6d:28" ||
		last.Disk != "/shared/guests/ten40.qcow2" {
		t.Errorf("%+v", last)
	}
	for i := range 10 {
		if _, err := guest.Domain(kind.Spec(i)); err != nil {
			t.Errorf("guest %d: %v", i, err)
		}
	}
}

func TestGameKind(t *testing.T) {
	kind := Kind{Name: "game", First: 24, MemoryMiB: guest.GameMemoryMiB, Game: true}
	spec := kind.Spec(0)
	if _, err := guest.Domain(spec); err != nil || spec.Initrd != "/shared/boot/initrd-game" || !spec.Game {
		t.Errorf("%+v, %v", spec, err)
	}
	kind.Game, kind.Ledger = false, true
	if spec := kind.Spec(0); spec.Initrd != "/shared/boot/initrd" || spec.Game ||
		!strings.HasSuffix(spec.CommandLine(), "vmferry.disk=/dev/vda vmferry.ledger=/dev/vda") {
		t.Errorf("%+v %s", spec, spec.CommandLine())
	}
}

func TestRunnerPause(t *testing.T) {
	at := func(ms int) time.Time { return time.UnixMilli(int64(ms)) }
	r := &Runner{seen: qemuObserver{&Watch{}, &listener{events: []Event{
		{At: at(3050), Node: "node2", Guest: "vm1", Name: "RESUME"}, // as it may come before the other node's
		{At: at(1000), Node: "node1", Guest: "vm1", Name: "STOP"},
		{At: at(1500), Node: "node2", Guest: "vm1", Name: "RESUME"},
		{At: at(3000), Node: "node1", Guest: "vm1", Name: "STOP"},
		{At: at(3060), Node: "node2", Guest: "vm2", Name: "RESUME"},
	}}}}
	if got, ok := r.Pause("vm1", "node1", "node2", at(2000)); !ok || got != 50*time.Millisecond {
		t.Errorf("%v, %v", got, ok)
	}
	if _, ok := r.Pause("vm1", "node1", "node2", at(3010)); ok {
		t.Error("a pause without its STOP")
	}
}
