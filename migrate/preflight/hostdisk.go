package preflight

import (
	"fmt"

	"libvirt.org/go/libvirtxml"

	"github.com/vmferry/vmferry/migrate/libvirt"
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
	case d.BackingStore != nil && d.BackingStore.Format != nil: // one that has none stands there as <backingStore/>
		return "its image is based on another one"
	case h.format != "raw" && h.format != "qcow2":
		return fmt.Sprintf("its image is of the format %q", h.format)
	}
	return ""
}

// leftOut tells whether libvirt empties the drive at the target, where that lacks the medium: while a guest arrives
// it leaves out what is optional or requisite, but no disk (qemuDomainCheckDiskStartupPolicy without cold_boot).
func (d hostDisk) leftOut() bool {
	return d.medium && (d.policy == "optional" || d.policy == "requisite")
}

// startsWithout tells the same of a guest that is started there, where a disk may be left out, too, and nothing that is
// requisite.
func (d hostDisk) startsWithout() bool { return d.policy == "optional" }
