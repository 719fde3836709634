package domainxml

import (
	"cmp"

	"libvirt.org/go/libvirtxml"
)

// CachedDisk is a disk whose writes go through the page cache of the host: the kernel may write them after QEMU has
// ended.
type CachedDisk struct {
	Target string // "vda"
	Path   string // a file or a block device
	Cache  string // the cache mode by libvirt's word
	Block  bool   // Path is a block device
	Shared bool   // it is shareable
}

// CachedDisks lists them by the libvirt XML of a guest of QEMU's. Text that is no domain XML, and a guest of another
// hypervisor, has none; nor has a disk that is only read, and one that QEMU reaches without the host's kernel.
//
// Source: libvirt's formatdomain page, "cache" of <driver>; a shareable disk has no cache where none is set
// (qemuDomainPrepareDiskCachemode).
func CachedDisks(text string) (all []CachedDisk) {
	devices := devicesOf(text)
	if devices == nil {
		return nil
	}
	for _, disk := range devices.Disks {
		if c, ok := cached(disk); ok {
			all = append(all, c)
		}
	}
	return all
}

func cached(disk libvirtxml.DomainDisk) (c CachedDisk, ok bool) {
	if disk.ReadOnly != nil || disk.Device == "cdrom" || disk.Source == nil || disk.Target == nil {
		return c, false
	}
	c.Target, c.Shared, c.Cache = disk.Target.Dev, disk.Shareable != nil, "default"
	if disk.Driver != nil {
		c.Cache = cmp.Or(disk.Driver.Cache, "default")
	}
	switch {
	case disk.Source.Block != nil:
		c.Path, c.Block = disk.Source.Block.Dev, true
	case disk.Source.File != nil:
		c.Path = disk.Source.File.File
	}
	past := c.Cache == "none" || c.Cache == "directsync" || c.Cache == "default" && c.Shared
	return c, c.Path != "" && !past
}
