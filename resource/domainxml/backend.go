package domainxml

import (
	"cmp"

	"libvirt.org/go/libvirtxml"
)

// Backend is a device of a guest whose data the host's kernel, or a program beside QEMU, may still write when QEMU has
// ended, whatever the cache mode of a disk says.
type Backend struct {
	Device string // "disk vda", "file system data"
	Dir    string // of the host, which the file system shares; empty: a program serves it that libvirt has not started
}

// Backends lists them by the libvirt XML of a guest of QEMU's. Text that is no domain XML, and a guest of another
// hypervisor, has none; nor has what is only read.
//
// Source: libvirt's formatdomain page, "vhostuser" of disks and "socket" of file systems.
func Backends(text string) (all []Backend) {
	devices := devicesOf(text)
	if devices == nil {
		return nil
	}
	for _, d := range devices.Disks {
		if d.Source != nil && d.Source.VHostUser != nil && d.Target != nil && d.ReadOnly == nil {
			all = append(all, Backend{Device: "disk " + d.Target.Dev})
		}
	}
	for _, f := range devices.Filesystems {
		if f.ReadOnly != nil || f.Source == nil || f.Source.Mount == nil {
			continue
		}
		b := Backend{Device: "file system", Dir: f.Source.Mount.Dir}
		if f.Target != nil {
			b.Device += " " + f.Target.Dir
		}
		if cmp.Or(f.Source.Mount.Dir, f.Source.Mount.Socket) != "" {
			all = append(all, b)
		}
	}
	return all
}

// devicesOf are those of a guest of QEMU's; nil for other text.
func devicesOf(text string) *libvirtxml.DomainDeviceList {
	d, err := Parse(text)
	guest := &libvirtxml.Domain{}
	if err != nil || d.IsXL || guest.Unmarshal(d.Text) != nil || guest.Type == "xen" {
		return nil
	}
	return guest.Devices
}
