package preflight

import (
	"context"
	"fmt"

	"libvirt.org/go/libvirtxml"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/shellword"
)

// JudgeMemory is the whole rule about a host with free bytes of memory, to which a guest comes that needs need of
// them (0 where that is not known): whether the host is short of memory, and whether that refuses the guest.
// fixed is [libvirt.Driver.FixedMemory]: such a hypervisor refuses it by itself, whatever the mode.
func JudgeMemory(need, free uint64, fixed bool, mode MemoryMode) (short, refused bool) {
	short = need > free && (fixed || mode != MemoryIgnore)
	return short, short && (fixed || mode == MemoryRefuse)
}

// LackOfMemory asks how much memory a host has free, where that matters for a guest that needs need of it (0 where that
// is not known), and judges it as [JudgeMemory] does. short says what the host has and the guest needs, "" where the
// host is not short of memory or was not asked. The error is ask's.
func LackOfMemory(
	ctx context.Context, ask func(context.Context) (free uint64, err error), need uint64, driver libvirt.Driver,
	mode MemoryMode,
) (short string, refused bool, err error) {
	if need == 0 || mode == MemoryIgnore && !driver.FixedMemory {
		return "", false, nil
	}
	free, err := ask(ctx)
	isShort, refused := JudgeMemory(need, free, driver.FixedMemory, mode)
	if err != nil || !isShort {
		return "", false, err
	}
	return fmt.Sprintf("%d MiB free, and the guest needs %d MiB", free>>20, mebibytes(need)), refused, nil
}

// checkMemory notes what the guest has, and compares what it needs with what the target has.
func checkMemory(ctx context.Context, p *inspection) error {
	p.found.Memory = memoryOf(p.guest)
	short, refused, err := LackOfMemory(ctx, p.target.Host.FreeMemory, withOverhead(p.guest, p.driver), p.driver,
		p.req.Memory)
	switch {
	case err != nil:
		return p.unchecked("memory", err)
	case refused:
		return &Refusal{CheckMemory, "the target has " + short,
			"free memory there, or move the guest to another node", nil}
	case short != "":
		p.note("the target may not have memory for the guest: it has " + short)
	}
	return nil
}

// MemoryNeed is how many bytes of its host's free memory the guest takes that domainXML describes, with what the
// hypervisor keeps for itself; 0 where the XML does not say it, and for a guest on huge pages, which come from a pool
// of their own.
func MemoryNeed(domainXML string, driver libvirt.Driver) uint64 {
	guest := &libvirtxml.Domain{}
	if err := guest.Unmarshal(domainXML); err != nil {
		return 0
	}
	return withOverhead(guest, driver)
}

func withOverhead(guest *libvirtxml.Domain, driver libvirt.Driver) uint64 {
	need := memoryOf(guest)
	if need == 0 || usesHugePages(guest) {
		return 0
	}
	return need + driver.Overhead(need, processors(guest))
}

func usesHugePages(guest *libvirtxml.Domain) bool {
	return guest.MemoryBacking != nil && guest.MemoryBacking.MemoryHugePages != nil
}

// hugePages is how many pages of which size in KiB the guest takes from the host's pools; size is 0 where that is
// not known, or there are several kinds.
func hugePages(guest *libvirtxml.Domain) (size, pages uint64) {
	if !usesHugePages(guest) || len(guest.MemoryBacking.MemoryHugePages.Hugepages) != 1 {
		return 0, 0
	}
	page := guest.MemoryBacking.MemoryHugePages.Hugepages[0]
	bytes := uint64(page.Size) * unitBytes(page.Unit)
	if bytes == 0 || guest.Memory == nil || page.Nodeset != "" {
		return 0, 0
	}
	memory := uint64(guest.Memory.Value) * unitBytes(guest.Memory.Unit)
	return bytes >> 10, (memory + bytes - 1) / bytes
}

// checkHugePages wants a guest's huge pages in the target's pool. QEMU takes all of them at its start, or ends.
func checkHugePages(ctx context.Context, p *inspection) error {
	guest := p.guest
	if !usesHugePages(guest) || p.req.Memory == MemoryIgnore {
		return nil
	}
	size, pages := hugePages(guest)
	if size == 0 {
		p.note("the target's huge pages were not checked: the guest's XML does not say their size")
		return nil
	}
	free, err := p.target.Host.FreePages(ctx, size)
	if err != nil {
		return p.unchecked("the target's huge pages", err)
	}
	if free < pages {
		return &Refusal{CheckMemory,
			fmt.Sprintf("the target has %d free huge pages of %d KiB, and the guest needs %d", free, size, pages),
			fmt.Sprintf("virsh -c %s allocpages %d %d --add", shellword.Word(p.req.TargetURI), size, pages-free), nil}
	}
	return nil
}
