package guest

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path"
	"regexp"
	"strings"

	"libvirt.org/go/libvirtxml"
)

// DomainSpec says what one guest is. All fields are required but Disk,
// Gateway and those that make it busy.
type DomainSpec struct {
	Name      string // of the domain: letters, digits, dot, dash, underscore
	UUID      string // 8-4-4-4-12 hexadecimal digits
	MAC       string // of its one network card, unicast
	Bridge    string // that the card is on, such as br0
	IP        string // address with the network's length, 10.77.0.101/24
	Gateway   string // default gateway; empty: none
	MemoryMiB uint   // at least MinMemoryMiB
	VCPUs     uint   // 1 to 16
	Disk      string // qcow2 image as the node sees it; empty: no disk
	Kernel    string // what Build made, as the node sees it
	Initrd    string // what Build made, as the node sees it
	Type      string // "qemu" (emulated) or "kvm"

	// DirtyMiB is how much memory the guest rewrites per second, and DirtySetMiB
	// how much in turn: both or neither. The set must leave MinMemoryMiB.
	DirtyMiB, DirtySetMiB uint
	// NoisePercent is how much of each page that it rewrites cannot be compressed; 0 is all of it.
	NoisePercent uint
}

// MinMemoryMiB is the least memory that a guest comes up with.
const MinMemoryMiB = 96

// machine is the board. Under emulation it boots as fast as q35, and has fewer
// bridges and controllers that could get in the way of a migration.
const machine = "pc"

// quietKernel are the words of the kernel command line that every guest gets. A
// panic reboots at once, so that it shows up as another boot id rather than as a
// guest that hangs. The clock is read without leaving the emulated processor. No
// IPv6, because its multicast would be traffic that nobody asked for. Self-tests
// of ciphers, the certificates and the entropy source that go with them take a
// quarter of an emulated boot, and nothing in a guest needs them.
var quietKernel = []string{
	"console=ttyS0", "quiet", "panic=-1", "mitigations=off", "nokaslr",
	"tsc=reliable", "no_timer_check", "ipv6.disable=1", "cryptomgr.notests",
	"initcall_blacklist=load_system_certificate_list,jent_mod_init,init_encrypted",
}

var (
	nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	uuidForm = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	nicForm  = regexp.MustCompile(`^[^\s/:]{1,15}$`)
	pathForm = regexp.MustCompile(`^/[^\x00-\x1f]*$`)
)

// Domain returns the libvirt domain XML of a guest (libvirt's formatdomain). The
// processor model and the disk's cache mode are such that the guest can be
// migrated between any two nodes of a lab.
func Domain(s DomainSpec) (string, error) {
	if err := s.check(); err != nil {
		return "", fmt.Errorf("describe guest %q: %w", s.Name, err)
	}
	text, err := s.domain().Marshal()
	if err != nil {
		return "", fmt.Errorf("describe guest %q: %w", s.Name, err)
	}
	return text + "\n", nil
}

func (s DomainSpec) check() error {
	switch {
	case !nameForm.MatchString(s.Name):
		return errors.New("name is not letters, digits, dots, dashes and underscores")
	case !uuidForm.MatchString(s.UUID):
		return fmt.Errorf("UUID %q is not 8-4-4-4-12 hexadecimal digits", s.UUID)
	case !nicForm.MatchString(s.Bridge):
		return fmt.Errorf("bridge %q is no interface name", s.Bridge)
	case s.MemoryMiB < MinMemoryMiB:
		return fmt.Errorf("memory of %d MiB is too little, give it %d or more", s.MemoryMiB, MinMemoryMiB)
	case (s.DirtyMiB > 0) != (s.DirtySetMiB > 0):
		return errors.New("a rate of rewriting and what is rewritten go together")
	case s.NoisePercent > 100:
		return fmt.Errorf("noise of %d per cent is more than all", s.NoisePercent)
	case s.MemoryMiB-MinMemoryMiB < s.DirtySetMiB:
		return fmt.Errorf("memory of %d MiB is too little to rewrite %d MiB of it, give it %d or more", s.MemoryMiB, s.DirtySetMiB, MinMemoryMiB+s.DirtySetMiB)
	case s.VCPUs < 1 || s.VCPUs > 16:
		return fmt.Errorf("number of processors %d is not 1 to 16", s.VCPUs)
	case s.Type != "qemu" && s.Type != "kvm":
		return fmt.Errorf("type %q is neither qemu nor kvm", s.Type)
	case s.Disk != "" && !pathForm.MatchString(s.Disk):
		return fmt.Errorf("disk %q is no absolute path", s.Disk)
	case !pathForm.MatchString(s.Kernel):
		return fmt.Errorf("kernel %q is no absolute path", s.Kernel)
	case !pathForm.MatchString(s.Initrd):
		return fmt.Errorf("initrd %q is no absolute path", s.Initrd)
	}
	return s.checkAddresses()
}

func (s DomainSpec) checkAddresses() error {
	mac, err := net.ParseMAC(s.MAC)
	if err != nil || len(mac) != 6 || mac[0]&1 != 0 {
		return fmt.Errorf("MAC %q is no unicast Ethernet address", s.MAC)
	}
	p, err := netip.ParsePrefix(s.IP)
	if err != nil || !p.Addr().Is4() {
		return fmt.Errorf("IP %q is not like 10.77.0.101/24", s.IP)
	}
	if s.Gateway == "" {
		return nil
	}
	if gw, err := netip.ParseAddr(s.Gateway); err != nil || !p.Contains(gw) {
		return fmt.Errorf("gateway %q is no address in %s", s.Gateway, p.Masked())
	}
	return nil
}

// CommandLine returns the kernel command line of the guest, see lab/guest/init.
func (s DomainSpec) CommandLine() string {
	words := append([]string{}, quietKernel...)
	words = append(words, "vmferry.name="+s.Name, "vmferry.ip="+s.IP)
	if s.Gateway != "" {
		words = append(words, "vmferry.gw="+s.Gateway)
	}
	if s.Disk != "" {
		words = append(words, "vmferry.disk=/dev/vda")
	}
	if s.DirtyMiB > 0 {
		words = append(words, fmt.Sprintf("vmferry.dirty=%d", s.DirtyMiB), fmt.Sprintf("vmferry.dirtyset=%d", s.DirtySetMiB))
	}
	if s.NoisePercent > 0 {
		words = append(words, fmt.Sprintf("vmferry.noise=%d", s.NoisePercent))
	}
	return strings.Join(words, " ")
}

func (s DomainSpec) domain() *libvirtxml.Domain {
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
	return libvirtxml.DomainDisk{
		Device: "disk",
		Driver: &libvirtxml.DomainDiskDriver{
			Name: "qemu", Type: "qcow2", Cache: "none", IO: "threads", ErrorPolicy: "report",
		},
		Source: &libvirtxml.DomainDiskSource{File: &libvirtxml.DomainDiskSourceFile{File: path.Clean(s.Disk)}},
		Target: &libvirtxml.DomainDiskTarget{Dev: "vda", Bus: "virtio"},
	}
}
