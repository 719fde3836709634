package preflight

import (
	"cmp"
	"context"

	"libvirt.org/go/libvirtxml"

	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/libvirt"
)

func readGuest(ctx context.Context, h endpoint.Host, name string) (*libvirtxml.Domain, error) {
	doc, err := h.XML(ctx, name)
	guest := &libvirtxml.Domain{}
	if err == nil {
		err = guest.Unmarshal(doc)
	}
	return guest, err
}

// machineOf is zero where the description does not say it.
func machineOf(guest *libvirtxml.Domain) libvirt.Machine {
	mach := libvirt.Machine{VirtType: guest.Type}
	if guest.OS != nil && guest.OS.Type != nil {
		mach.Arch, mach.Type = guest.OS.Type.Arch, guest.OS.Type.Machine
	}
	return mach
}

// processors are the guest's virtual ones.
func processors(guest *libvirtxml.Domain) uint {
	if guest.VCPU == nil {
		return 1
	}
	return guest.VCPU.Value
}

// memoryOf is what the guest has now, in bytes: less than its maximum when its balloon is inflated.
func memoryOf(guest *libvirtxml.Domain) uint64 {
	if c := guest.CurrentMemory; c != nil && c.Value > 0 {
		return uint64(c.Value) * unitBytes(c.Unit)
	}
	if guest.Memory != nil {
		return uint64(guest.Memory.Value) * unitBytes(guest.Memory.Unit)
	}
	return 0
}

// units are those of libvirt's domain format in bytes, but for KiB, the default, which live XML always has.
var units = map[string]uint64{"b": 1, "bytes": 1, "M": 1 << 20, "MiB": 1 << 20, "G": 1 << 30, "GiB": 1 << 30,
	"T": 1 << 40, "TiB": 1 << 40}

func unitBytes(unit string) uint64 { return cmp.Or(units[unit], 1<<10) }

// mebibytes rounds up.
func mebibytes(bytes uint64) uint64 { return (bytes + 1<<20 - 1) >> 20 }
