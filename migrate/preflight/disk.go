package preflight

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/vmferry/vmferry/migrate/diskcopy"
	"github.com/vmferry/vmferry/migrate/disks"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/record"
	"github.com/vmferry/vmferry/migrate/shellword"
	"github.com/vmferry/vmferry/migrate/wait"
)

// checkDisks refuses what the target does not have, unless it is to be copied or libvirt leaves it out.
func checkDisks(ctx context.Context, p *inspection) error {
	byLibvirt := p.req.Options.CopyAll || p.req.Options.CopyInc
	if byLibvirt {
		p.note("disks that the guest writes to were not checked: they are copied")
	}
	for _, d := range hostDisks(p.guest) {
		if byLibvirt && d.writable {
			continue
		}
		if err := p.refuse(checkDisk(ctx, p, d)); err != nil {
			return err
		}
	}
	p.found.copyDisks()
	return checkDiskRoom(ctx, p)
}

func checkDisk(ctx context.Context, p *inspection, d hostDisk) error {
	there, previous, err := seeAtTarget(ctx, p, d)
	if err != nil {
		return err
	}
	fate, err := d.decide(p.req.Disks, there, lacking(ctx, p, d), destination{p.req.Guest, p.req.Target})
	if fate == diskCopied {
		err = checkLocal(ctx, p, d)
	}
	if err != nil {
		return err
	}
	f := &p.found
	switch fate {
	case diskCopied:
		f.Copies = append(f.Copies, diskcopy.Plan{CopiedDisk: record.CopiedDisk{Target: d.target, Path: d.path},
			Image: libvirt.Image{Path: d.path, Format: d.format}, Previous: previous})
		f.Lacks = append(f.Lacks, fmt.Sprintf("the target has no disk %q before a migration copies it", d.path))
	case diskLeft:
		f.With = append(f.With, fmt.Sprintf("%q stays behind: the target lacks it, and libvirt leaves drive %s empty, "+
			"as its startupPolicy is %s", d.source, d.target, d.policy))
		if !d.startsWithout() {
			f.Lacks = append(f.Lacks, fmt.Sprintf("the target does not have %q, which a start needs", d.source))
		}
	}
	return nil
}

// lacking returns the first thing that the target lacks below the disk's image.
func lacking(ctx context.Context, p *inspection, d hostDisk) libvirt.DiskSource {
	for _, source := range d.below {
		if visible(ctx, p, source) == libvirt.VisibleNo {
			return source
		}
	}
	return libvirt.DiskSource{}
}

// visible asks the target, and notes where that does not know.
func visible(ctx context.Context, p *inspection, source libvirt.DiskSource) libvirt.Visible {
	there, err := p.target.Host.DiskVisible(ctx, source)
	switch {
	case err != nil:
		p.note(fmt.Sprintf("disk %q was not checked: %v", source, err))
		return libvirt.VisibleUnknown
	case there == libvirt.VisibleUnknown:
		p.note(fmt.Sprintf("disk %q was not checked: the target's libvirt does not know", source))
	}
	return there
}

// seeAtTarget asks whether the target has the disk. An unfinished copy of an earlier move does not count: previous is
// that move's note. One that no move from here is noted for is not touched.
func seeAtTarget(ctx context.Context, p *inspection, d hostDisk) (there libvirt.Visible, previous disks.Note, _ error) {
	if d.source == (libvirt.DiskSource{}) {
		return libvirt.VisibleYes, previous, nil
	}
	there = visible(ctx, p, d.source)
	shared := p.req.Disks == DisksShared || p.req.Disks == ""
	if shared || !d.writable || d.path == "" || there == libvirt.VisibleUnknown {
		return there, previous, nil
	}
	mark := d.path + disks.ArrivingSuffix
	if visible(ctx, p, libvirt.DiskSource{Path: mark}) != libvirt.VisibleYes {
		return there, previous, nil
	}
	previous, err := wait.Within(ctx, func() (disks.Note, error) { return disks.ReadNote(d.path) }, nil)
	ours := err == nil && previous.Mark != 0 && previous.Peer == p.req.Target
	if !ours || !strings.EqualFold(previous.UUID, p.found.UUID) || !previous.Made && there == libvirt.VisibleYes {
		return there, previous, &Refusal{CheckDisk,
			fmt.Sprintf("the target has an unfinished copy of the disk %q, and no note here of the move", d.path),
			"if it is certain that no guest uses it, remove it there: " + shellword.Line("rm", d.path, mark), nil}
	}
	return libvirt.VisibleNo, previous, nil
}

// checkLocal refuses to copy an image that other hosts may have mounted: it would be overwritten by its own copy, or
// removed with one that is given up.
func checkLocal(ctx context.Context, p *inspection, d hostDisk) error {
	if p.req.Fetch {
		return nil // it is refused for that
	}
	kind, err := wait.Within(ctx, func() (string, error) { return p.deps.SharedBy(d.path) }, nil)
	switch {
	case err != nil:
		return &Refusal{CheckDisk, fmt.Sprintf("it is not known if the disk %q is on shared storage", d.path), "", err}
	case kind != "":
		return &Refusal{CheckDisk, fmt.Sprintf("the target does not see the disk %q, which lies on %s here, "+
			"and is not copied since it may be shared", d.path, kind), fmt.Sprintf(
			"mount it on %s as it is mounted here: %s", p.req.Target, shellword.Line("findmnt", "-T", d.path)), nil}
	}
	return nil
}

// checkDiskRoom asks how large the disks are that are copied, and whether the target has room. An old copy there may be
// removed for it, so that only the copying itself will show that.
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
			return &Refusal{CheckDisk, fmt.Sprintf("the size of disk %q is not known", c.Path), "", err}
		}
		c.Image.Capacity, c.Bytes = size.Capacity, size.Allocated
		need[filepath.Dir(c.Path)] += size.Allocated
	}
	for dir, bytes := range need {
		room, err := p.target.Host.Room(ctx, dir)
		if err != nil {
			return &Refusal{CheckDisk, fmt.Sprintf("the target reports no free space of %q", dir), poolHint(dir), err}
		}
		if room < bytes && !mayReplaceOld(ctx, p, dir) {
			return &Refusal{CheckDisk, fmt.Sprintf("the target has %d MiB free in %s, and the guest's disks need "+
				"%d MiB", room>>20, dir, mebibytes(bytes)), "free some there", nil}
		}
	}
	return nil
}

// mayReplaceOld reports whether the target has old copies of the guest's disks in a folder, of which the current ones
// are here. They are removed when the disks begin to be copied.
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
