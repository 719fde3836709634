package preflight

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/vmferry/vmferry/migrate/diskcopy"
	"github.com/vmferry/vmferry/migrate/disks"
)

// checkDiskRoom asks how large the disks are that are copied, and whether the target has room. An old copy there may be
// removed for it, so that only the copying itself can tell.
func checkDiskRoom(ctx context.Context, p *inspection) error {
	if len(p.found.Copies) > 0 && p.req.Fetch {
		return &Refusal{CheckDisk, "the guest's disks have to be copied, which only the node that it leaves can do",
			"move it from there: vmferry migrate", nil}
	}
	need := map[string]uint64{}
	for i := range p.found.Copies {
		c := &p.found.Copies[i]
		size, err := p.source.Host.DiskSize(ctx, p.req.Guest, c.Target)
		if err != nil {
			return &Refusal{CheckDisk, fmt.Sprintf("the size of disk %q cannot be told", c.Path), "", err}
		}
		c.Image.Capacity, c.Bytes = size.Capacity, size.Allocated
		need[filepath.Dir(c.Path)] += size.Allocated
	}
	for dir, bytes := range need {
		room, err := p.target.Host.Room(ctx, dir)
		if err != nil {
			return &Refusal{CheckDisk, fmt.Sprintf("the target does not report the free space in %q", dir), poolHint(dir), err}
		}
		if room < bytes && !mayReplaceOld(ctx, p, dir) {
			return &Refusal{CheckDisk, fmt.Sprintf("the target has %d MiB free in %s, and the guest's disks need %d MiB",
				room>>20, dir, mebibytes(bytes)), "free some there", nil}
		}
	}
	return nil
}

// mayReplaceOld reports whether the target has old copies of the guest's disks in a folder, of which the current ones are
// here. They are removed when the disks begin to be copied.
func mayReplaceOld(ctx context.Context, p *inspection, dir string) (any bool) {
	for i := range p.found.Copies {
		c := &p.found.Copies[i]
		if filepath.Dir(c.Path) == dir && diskcopy.HasOld(ctx, p.target.Host, c.Path, p.found.UUID) {
			p.note(fmt.Sprintf("the old copy %q at the target makes room for the new one", c.Path+disks.OldSuffix))
			c.ReplaceOld, any = true, true
		}
	}
	return any
}
