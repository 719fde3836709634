package guest

import (
	"path"
	"strings"

	"libvirt.org/go/libvirtxml"
)

// machine is the board. Under emulation it boots as fast as q35, and has fewer
// bridges and controllers that could get in the way of a migration.
const machine = "pc"

// emulated is a machine that QEMU makes, emulated or with KVM. The clock is read
// without leaving the emulated processor.
func emulated() platform {
	return platform{
		early: []string{
			"virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci",
			"failover", "net_failover", "virtio_net", "virtio_blk",
		},
		late:     []string{"evdev", "button"},
		words:    kernelWords("console=ttyS0", "tsc=reliable", "no_timer_check"),
		disk:     "/dev/vda",
		describe: emulatedDomain,
	}
}

// emulatedDomain is a PC, with everything left out that a guest would have to
// ask the emulator about.
func emulatedDomain(s DomainSpec) *libvirtxml.Domain {
	return &libvirtxml.Domain{
		Type:   s.Type,
		Name:   s.Name,
		UUID:   strings.ToLower(s.UUID),
		Memory: &libvirtxml.DomainMemory{Value: s.MemoryMiB, Unit: "MiB"},
		VCPU:   &libvirtxml.DomainVCPU{Placement: "static", Value: s.VCPUs},
		OS: &libvirtxml.DomainOS{
			Type:    &libvirtxml.DomainOSType{Arch: "x86_64", Machine: machine, Type: "hvm"},
			Kernel:  s.Kernel,
			Initrd:  s.Initrd,
			Cmdline: s.CommandLine(),
		},
		Features: &libvirtxml.DomainFeatureList{
			ACPI: &libvirtxml.DomainFeature{},
			APIC: &libvirtxml.DomainFeatureAPIC{},
		},
		CPU:        s.cpu(),
		Clock:      clock(),
		OnPoweroff: "destroy",
		OnReboot:   "restart",
		OnCrash:    "destroy",
		Devices:    s.devices(),
	}
}

// cpu is a model that every node has. rdrand gives the guest's boot id its
// randomness: an emulated machine has no other source so early.
func (s DomainSpec) cpu() *libvirtxml.DomainCPU {
	cpu := &libvirtxml.DomainCPU{
		Mode: "custom", Match: "exact", Check: "none",
		Model: &libvirtxml.DomainCPUModel{Fallback: "forbid", Value: "qemu64"},
	}
	if s.Type == "qemu" {
		cpu.Features = []libvirtxml.DomainCPUFeature{{Policy: "require", Name: "rdrand"}}
	}
	return cpu
}

// clock leaves out the timers that would make the guest ask the emulator for
// the time.
func clock() *libvirtxml.DomainClock {
	return &libvirtxml.DomainClock{
		Offset: "utc",
		Timer:  []libvirtxml.DomainTimer{{Name: "hpet", Present: "no"}},
	}
}

func (s DomainSpec) devices() *libvirtxml.DomainDeviceList {
	port := uint(0)
	d := &libvirtxml.DomainDeviceList{
		// Otherwise libvirt adds a USB controller, which a guest has to poll.
		Controllers: []libvirtxml.DomainController{{Type: "usb", Model: "none"}},
		Interfaces: []libvirtxml.DomainInterface{{
			MAC:    &libvirtxml.DomainInterfaceMAC{Address: strings.ToLower(s.MAC)},
			Source: &libvirtxml.DomainInterfaceSource{Bridge: &libvirtxml.DomainInterfaceSourceBridge{Bridge: s.Bridge}},
			Model:  &libvirtxml.DomainInterfaceModel{Type: "virtio"},
			// The card's boot code would only lengthen the firmware's start.
			ROM: &libvirtxml.DomainROM{Enabled: "no"},
		}},
		Serials: []libvirtxml.DomainSerial{{
			Source: &libvirtxml.DomainChardevSource{Pty: &libvirtxml.DomainChardevSourcePty{}},
			Target: &libvirtxml.DomainSerialTarget{Port: &port},
		}},
		Consoles: []libvirtxml.DomainConsole{{
			Source: &libvirtxml.DomainChardevSource{Pty: &libvirtxml.DomainChardevSourcePty{}},
			Target: &libvirtxml.DomainConsoleTarget{Type: "serial", Port: &port},
		}},
		MemBalloon: &libvirtxml.DomainMemBalloon{Model: "none"},
	}
	if s.Disk != "" {
		d.Disks = []libvirtxml.DomainDisk{s.diskDevice()}
	}
	return d
}

// diskDevice is the guest's disk. cache=none is what makes a migration between
// nodes with shared storage safe; an I/O error reaches the guest, which counts
// it.
func (s DomainSpec) diskDevice() libvirtxml.DomainDisk {
	format, source := "qcow2", &libvirtxml.DomainDiskSource{File: &libvirtxml.DomainDiskSourceFile{File: path.Clean(s.Disk)}}
	if at := nbdForm.FindStringSubmatch(s.Disk); at != nil {
		format, source = "raw", &libvirtxml.DomainDiskSource{Network: &libvirtxml.DomainDiskSourceNetwork{
			Protocol: "nbd", Name: at[3], Hosts: []libvirtxml.DomainDiskSourceHost{{Name: at[1], Port: at[2]}},
		}}
	}
	return libvirtxml.DomainDisk{
		Device: "disk",
		Driver: &libvirtxml.DomainDiskDriver{
			Name: "qemu", Type: format, Cache: "none", IO: "threads", ErrorPolicy: "report",
		},
		Source: source,
		Target: &libvirtxml.DomainDiskTarget{Dev: "vda", Bus: "virtio"},
	}
}
