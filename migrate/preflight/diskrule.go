package preflight

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/vmferry/vmferry/migrate/diskcopy"
	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/shellword"
)

// DiskMode says what is done with disks that are not on storage which both nodes share.
type DiskMode string

// The modes. Disks that a guest cannot write to are never copied.
const (
	DisksShared DiskMode = "shared" // nothing is copied; the same as ""
	DisksCopy   DiskMode = "copy"   // every image is copied, and none may be at the target already
	DisksAuto   DiskMode = "auto"   // those are copied that the target does not see
)

// DiskModes are all modes, for those who read one.
var DiskModes = []DiskMode{DisksShared, DisksCopy, DisksAuto}

// diskFate is what a move does with a disk.
type diskFate int

const (
	diskThere  diskFate = iota // nothing: the target has it, or nobody knows
	diskCopied                 // it is copied
	diskLeft                   // libvirt leaves it out
)

// heading is which guest moves where, for what is said of it.
type heading struct{ guest, node string }

// decide tells what is done with a disk, and refuses what cannot be. It is the whole rule; lacks is what of a
// disk the target lacks below its image, zero where nothing.
func (d hostDisk) decide(mode DiskMode, there libvirt.Visible, lacks libvirt.DiskSource, to heading) (diskFate, *Refusal) {
	refuse := func(check, reason, hint string) (diskFate, *Refusal) {
		return diskThere, &Refusal{check, fmt.Sprintf(reason, d.source.String()), hint, nil}
	}
	copies := d.writable && (mode == DisksCopy || mode == DisksAuto)
	check := CheckDisk
	if d.startsWithout() || there != libvirt.VisibleNo {
		check = CheckDiskMove
	}
	based := lacks != (libvirt.DiskSource{})
	switch {
	case d.leftOut() && (there == libvirt.VisibleNo || based):
		return diskLeft, nil
	case there == libvirt.VisibleNo && copies && d.why == "":
		return diskCopied, nil
	case copies && d.why != "" && (mode == DisksCopy || there == libvirt.VisibleNo):
		return refuse(check, "the disk %q cannot be copied: "+d.why, "put it on storage that both hosts share, or copy it with migrate_options=--copy-storage-inc or --copy-storage-all, to what you have made for it there")
	case there == libvirt.VisibleNo && d.medium:
		return refuse(check, "the target does not see the image %q, which the guest only reads", d.ejectHint(to))
	case there == libvirt.VisibleNo && d.source.Pool != "":
		return refuse(check, "the target does not see the volume %q", "there: "+shellword.Line("virsh", "pool-start", d.source.Pool)+", or "+shellword.Line("virsh", "pool-refresh", d.source.Pool))
	case there == libvirt.VisibleNo && !d.writable:
		return refuse(check, "the target does not see the image %q, which the guest only reads or shares", "put it there too")
	case there == libvirt.VisibleNo && d.why != "":
		return refuse(check, "the target does not see the disk %q", "connect it there, or put it on storage that both hosts share")
	case there == libvirt.VisibleNo:
		return refuse(check, "the target does not see the disk %q", "put it on storage that both hosts share, or let it be copied: disks=auto")
	case based && d.startsWithout():
		return refuse(CheckDiskMove, fmt.Sprintf("the target does not see %q, which the disk %%q needs", lacks), "put it there too")
	case based:
		return refuse(CheckDisk, fmt.Sprintf("the target does not see %q, which the disk %%q needs", lacks), "put it there too")
	case copies && mode == DisksCopy && there == libvirt.VisibleYes:
		return refuse(check, "the target has a file %q already", "if it is on shared storage, set disks=auto; if it is an old copy, remove it there")
	case copies && mode == DisksCopy:
		return refuse(check, "whether the target has the disk %q cannot be told", poolHint(filepath.Dir(d.path)))
	}
	return diskThere, nil
}

// ejectHint is what to type for a medium that the target lacks. A start takes the medium from the guest's XML again.
func (d hostDisk) ejectHint(to heading) string {
	return fmt.Sprintf("put it on %s too, or eject it: %s, and take it out of the guest's XML, or write startupPolicy='optional' into its <source> there",
		to.node, shellword.Line("virsh", "change-media", to.guest, d.target, "--eject"))
}

func poolHint(dir string) string {
	return "make a storage pool there: " + shellword.Line("virsh", "pool-define-as", "NAME", "dir", "--target", dir) + "; virsh pool-start NAME; virsh pool-autostart NAME"
}

// DiskBytes is about how much of a guest's disks a move in this mode copies, in bytes that their images take
// up: of those that the target may see already nothing is known here.
func DiskBytes(ctx context.Context, h endpoint.Inspector, guest string, mode DiskMode) (all uint64, err error) {
	if mode == DisksShared || mode == "" {
		return 0, nil
	}
	parsed, err := readGuest(ctx, h, guest)
	for _, d := range hostDisks(parsed) {
		if !d.writable || d.why != "" || err != nil {
			continue
		}
		var size libvirt.DiskSize
		size, err = h.DiskSize(ctx, guest, d.target)
		all += size.Allocated
	}
	if err != nil {
		return 0, fmt.Errorf("ask the size of the disks of guest %q: %w", guest, err)
	}
	return all, nil
}

// Images are the guest's disks that are files or devices, each of which an earlier move may have begun to copy.
func Images(ctx context.Context, h endpoint.Inspector, guest string) (all []diskcopy.Disk, err error) {
	parsed, err := readGuest(ctx, h, guest)
	if err != nil {
		return nil, fmt.Errorf("read the disks of guest %q: %w", guest, err)
	}
	for _, d := range hostDisks(parsed) {
		if d.path != "" {
			all = append(all, diskcopy.Disk{Target: d.target, Path: d.path})
		}
	}
	return all, nil
}
