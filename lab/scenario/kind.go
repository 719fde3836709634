package scenario

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/lab/guest"
)

// Kind is what the guests of a set have in common. Sets must not share names or
// addresses.
type Kind struct {
	Name      string // each guest's is this and its number
	First     int    // the number of the first one, 1 to 150
	MemoryMiB uint
	// DirtyMiB, DirtySetMiB and NoisePercent make it busy, see [guest.DomainSpec].
	DirtyMiB, DirtySetMiB, NoisePercent uint
	// Ledger gives each a ledger on its disk, see package ledger.
	Ledger bool
	// Game gives each a game server beside the reflectors, see [guest.GamePort]. Only emulated guests can have one, and
	// it needs [guest.GameMemoryMiB].
	Game bool
}

// MakeGuests makes n guests, vm1 and so on, on the shared storage: a definition
// and a disk each. shared is the storage's folder as this process sees it; the
// nodes see it as /shared. What is there already is kept.
func MakeGuests(ctx context.Context, c *cluster.Cluster, shared string, n int) ([]Guest, error) {
	return Kind{Name: "vm", First: 1, MemoryMiB: 128}.Make(ctx, c, shared, n)
}

// Make is MakeGuests for guests of this kind.
func (k Kind) Make(ctx context.Context, c *cluster.Cluster, shared string, n int) ([]Guest, error) {
	if err := os.MkdirAll(filepath.Join(shared, "guests"), 0o755); err != nil {
		return nil, fmt.Errorf("make the folder of the guests: %w", err)
	}
	var guests []Guest
	for i := range n {
		g, err := profileOf(c).make(ctx, c, shared, k.Spec(i))
		if err != nil {
			return nil, err
		}
		guests = append(guests, g)
	}
	return guests, nil
}

// Spec is the i-th guest of this kind, from 0 on.
func (k Kind) Spec(i int) guest.DomainSpec {
	number := k.First + i
	name := fmt.Sprintf("%s%d", k.Name, number)
	initrd := "/shared/boot/initrd"
	if k.Game {
		initrd = "/shared/boot/initrd-game"
	}
	return guest.DomainSpec{
		Name: name, UUID: fmt.Sprintf("766d6665-7272-4000-9000-%012x", number),
		MAC: fmt.Sprintf("52:54:00:76:6d:%02x", number), Bridge: "br0", IP: fmt.Sprintf("10.77.0.%d/24", 100+number),
		MemoryMiB: k.MemoryMiB, VCPUs: 1, Disk: "/shared/guests/" + name + ".qcow2",
		Kernel: "/shared/boot/vmlinuz", Initrd: initrd, Type: "qemu", Game: k.Game, Ledger: k.Ledger,
		DirtyMiB: k.DirtyMiB, DirtySetMiB: k.DirtySetMiB, NoisePercent: k.NoisePercent,
	}
}
