package migrate

import (
	"context"
	"fmt"

	"libvirt.org/go/libvirtxml"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// MemoryMode says what follows where a host tells less free memory than a guest needs. What a Linux host tells
// is a guess: memory that a file system's cache (ZFS) gives back, pages that KSM merges and swap are not in it.
type MemoryMode string

// The modes.
const (
	MemoryWarn   MemoryMode = "warn"   // it is noted, and the guest goes there all the same; the same as ""
	MemoryRefuse MemoryMode = "refuse" // the guest does not go there
	MemoryIgnore MemoryMode = "no"     // the host is not asked
)

// MemoryModes are all modes, for those who read one.
var MemoryModes = []MemoryMode{MemoryWarn, MemoryRefuse, MemoryIgnore}

// JudgeMemory is the whole rule about a host with free bytes of memory, to which a guest comes that needs need of
// them (0 where that is not known): whether the host is short of memory, and whether that refuses the guest.
// fixed is [libvirt.Driver.FixedMemory]: such a hypervisor refuses it by itself, whatever the mode.
func JudgeMemory(need, free uint64, fixed bool, mode MemoryMode) (short, refused bool) {
	short = need > free && (fixed || mode != MemoryIgnore)
	return short, short && (fixed || mode == MemoryRefuse)
}

// checkMemory notes what the guest has, and compares what it needs with what the target has. Guests on huge pages
// get theirs from a pool of their own.
func (m *mover) checkMemory(ctx context.Context, guest *libvirtxml.Domain) error {
	m.rec.Memory = memoryOf(guest)
	need, fixed := withOverhead(guest, m.driver), m.driver.FixedMemory
	if need == 0 || m.req.Memory == MemoryIgnore && !fixed || usesHugePages(guest) {
		return nil
	}
	free, err := m.target.host.FreeMemory(ctx)
	if err != nil {
		m.note("memory was not checked: " + err.Error())
		return nil
	}
	short, refused := JudgeMemory(need, free, fixed, m.req.Memory)
	switch {
	case refused:
		return &Refusal{CheckMemory,
			fmt.Sprintf("the target has %d MiB free, and the guest needs %d MiB", free>>20, mebibytes(need)),
			"free memory there, or move the guest to another node", nil}
	case short:
		m.note(fmt.Sprintf("the target may not have memory for the guest: it has %d MiB free, and the guest needs %d MiB",
			free>>20, mebibytes(need)))
	}
	return nil
}

// mebibytes rounds up.
func mebibytes(bytes uint64) uint64 { return (bytes + 1<<20 - 1) >> 20 }

// MemoryNeed is how many bytes of its host's memory the guest takes that domainXML describes, with what the
// hypervisor keeps for itself; 0 where the XML does not say it.
func MemoryNeed(domainXML string, driver libvirt.Driver) uint64 {
	guest := &libvirtxml.Domain{}
	if err := guest.Unmarshal(domainXML); err != nil {
		return 0
	}
	return withOverhead(guest, driver)
}

func withOverhead(guest *libvirtxml.Domain, driver libvirt.Driver) uint64 {
	need := memoryOf(guest)
	if need == 0 {
		return 0
	}
	return need + driver.Overhead(need, processors(guest))
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

// unitBytes knows the units of libvirt's domain format; live XML has always KiB, the default.
func unitBytes(unit string) uint64 {
	switch unit {
	case "b", "bytes":
		return 1
	case "M", "MiB":
		return 1 << 20
	case "G", "GiB":
		return 1 << 30
	case "T", "TiB":
		return 1 << 40
	}
	return 1 << 10
}
