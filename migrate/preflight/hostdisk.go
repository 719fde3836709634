package preflight

import (
	"context"
	"fmt"
	"path/filepath"

	"libvirt.org/go/libvirtxml"

	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/record"
	"github.com/vmferry/vmferry/migrate/shellword"
)

// hostDisk is a disk of the guest's that needs something of its host: a file, a device, or a volume.
type hostDisk struct {
	target, format string
	path           string             // of a file or device; empty for a volume, and for a disk of the network
	source         libvirt.DiskSource // that, or the volume; zero for a disk of the network
	below          []libvirt.DiskSource

	writable bool   // by this guest alone: what is worth copying
	medium   bool   // it lies in a drive, which can be empty
	policy   string // startupPolicy, "" for mandatory
	why      string // it cannot be copied
}

// hostDisks lists them in the order of the guest's description.
func hostDisks(guest *libvirtxml.Domain) []hostDisk {
	if guest.Devices == nil {
		return nil
	}
	var all []hostDisk
	for _, d := range guest.Devices.Disks {
		h := hostDisk{
			medium: d.Device == "cdrom" || d.Device == "floppy",
			source: sourceOf(d.Source),
			below:  layers(d),
		}
		here := h.source != (libvirt.DiskSource{})
		if !here && len(h.below) == 0 {
			continue
		}
		h.path = h.source.Path
		h.writable = here && (d.Device == "" || d.Device == "disk") && d.ReadOnly == nil && d.Shareable == nil
		if d.Target != nil {
			h.target = d.Target.Dev
		}
		if d.Driver != nil {
			h.format = d.Driver.Type
		}
		if d.Source != nil {
			h.policy = d.Source.StartupPolicy
		}
		h.why = uncopied(d, h)
		all = append(all, h)
	}
	return all
}

// sourceOf is zero for what is not of the host: an empty drive, or storage of the network.
func sourceOf(s *libvirtxml.DomainDiskSource) libvirt.DiskSource {
	switch {
	case s == nil:
	case s.File != nil:
		return libvirt.DiskSource{Path: s.File.File}
	case s.Block != nil:
		return libvirt.DiskSource{Path: s.Block.Dev}
	case s.Volume != nil:
		return libvirt.DiskSource{Pool: s.Volume.Pool, Volume: s.Volume.Volume}
	}
	return libvirt.DiskSource{}
}

// layers are what a disk's image needs besides: the images that it is based on, and files that hold the data of one.
func layers(d libvirtxml.DomainDisk) (all []libvirt.DiskSource) {
	add := func(s *libvirtxml.DomainDiskSource) {
		if at := sourceOf(s); at != (libvirt.DiskSource{}) {
			all = append(all, at)
		}
	}
	data := func(s *libvirtxml.DomainDiskSource) {
		if s != nil && s.DataStore != nil {
			add(s.DataStore.Source)
		}
	}
	data(d.Source)
	for b := d.BackingStore; b != nil; b = b.BackingStore {
		add(b.Source)
		data(b.Source)
	}
	return all
}

// uncopied is why a disk cannot be copied, or "".
func uncopied(d libvirtxml.DomainDisk, h hostDisk) string {
	switch {
	case d.Source != nil && d.Source.Block != nil:
		return "it is a block device, which libvirt cannot create there"
	case h.source.Pool != "":
		return "it is named as a volume of a storage pool"
	case d.Source != nil && d.Source.DataStore != nil:
		return "its image has its data in another file"
	case d.BackingStore != nil && d.BackingStore.Format != nil: // one that has none has an empty <backingStore/>
		return "its image is based on another one"
	case h.format != "raw" && h.format != "qcow2":
		return fmt.Sprintf("its image is of the format %q", h.format)
	}
	return ""
}

// leftOut reports whether libvirt empties the drive at the target, where that lacks the medium: while a guest arrives
// it leaves out what is optional or requisite, but no disk (qemuDomainCheckDiskStartupPolicy without cold_boot).
func (d hostDisk) leftOut() bool {
	return d.medium && (d.policy == "optional" || d.policy == "requisite")
}

// startsWithout reports the same of a guest that is started there, where a disk may be left out, too, and nothing that
// is requisite.
func (d hostDisk) startsWithout() bool { return d.policy == "optional" }

// diskFate is what a move does with a disk.
type diskFate int

const (
	diskThere  diskFate = iota // nothing: the target has it, or nobody knows
	diskCopied                 // it is copied
	diskLeft                   // libvirt leaves it out
)

// destination is which guest moves where, for hints.
type destination struct{ guest, node string }

// decide says what is done with a disk, and refuses what cannot be. It is the whole rule; lacks is what of a
// disk the target lacks below its image, zero where nothing.
func (d hostDisk) decide(
	mode DiskMode, there libvirt.Visible, lacks libvirt.DiskSource, to destination,
) (diskFate, error) {
	refuse := func(check, reason, hint string) (diskFate, error) {
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
		return refuse(check, "the disk %q cannot be copied: "+d.why, "put it on storage that both hosts share, or "+
			"copy it with migrate_options=--copy-storage-inc or --copy-storage-all, to what you have made for it there")
	case there == libvirt.VisibleNo && d.medium:
		return refuse(check, "the target does not see the image %q, which the guest only reads", d.ejectHint(to))
	case there == libvirt.VisibleNo && d.source.Pool != "":
		return refuse(check, "the target does not see the volume %q", "there: "+
			shellword.Line("virsh", "pool-start", d.source.Pool)+", or "+
			shellword.Line("virsh", "pool-refresh", d.source.Pool))
	case there == libvirt.VisibleNo && !d.writable:
		return refuse(check, "the target does not see the image %q, which the guest only reads or shares",
			"put it there too")
	case there == libvirt.VisibleNo && d.why != "":
		return refuse(check, "the target does not see the disk %q",
			"connect it there, or put it on storage that both hosts share")
	case there == libvirt.VisibleNo:
		return refuse(check, "the target does not see the disk %q",
			"put it on storage that both hosts share, or let it be copied: disks=auto")
	case based:
		check = CheckDisk
		if d.startsWithout() {
			check = CheckDiskMove
		}
		return refuse(check, fmt.Sprintf("the target does not see %q, which the disk %%q needs", lacks),
			"put it there too")
	case copies && mode == DisksCopy && there == libvirt.VisibleYes:
		return refuse(check, "the target has a file %q already",
			"if it is on shared storage, set disks=auto; if it is an old copy, remove it there")
	case copies && mode == DisksCopy:
		return refuse(check, "whether the target has the disk %q is not known", poolHint(filepath.Dir(d.path)))
	}
	return diskThere, nil
}

// ejectHint is what to type for a medium that the target lacks. A start takes the medium from the guest's XML again.
func (d hostDisk) ejectHint(to destination) string {
	return fmt.Sprintf("put it on %s too, or eject it: %s, and take it out of the guest's XML, "+
		"or write startupPolicy='optional' into its <source> there",
		to.node, shellword.Line("virsh", "change-media", to.guest, d.target, "--eject"))
}

func poolHint(dir string) string {
	return "make a storage pool there: " + shellword.Line("virsh", "pool-define-as", "NAME", "dir", "--target", dir) +
		"; virsh pool-start NAME; virsh pool-autostart NAME"
}

// DiskBytes is about how much of a guest's disks a move in this mode copies, in bytes that their images take
// up: of those that the target may see already nothing is known here.
func DiskBytes(ctx context.Context, h endpoint.Host, guest string, mode DiskMode) (all uint64, err error) {
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
func Images(ctx context.Context, h endpoint.Host, guest string) (all []record.CopiedDisk, err error) {
	parsed, err := readGuest(ctx, h, guest)
	if err != nil {
		return nil, fmt.Errorf("read the disks of guest %q: %w", guest, err)
	}
	for _, d := range hostDisks(parsed) {
		if d.path != "" {
			all = append(all, record.CopiedDisk{Target: d.target, Path: d.path})
		}
	}
	return all, nil
}
