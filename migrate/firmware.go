package migrate

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"libvirt.org/go/libvirtxml"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/shellword"
)

// firmwareFiles are the files of a guest's firmware that have to be on its host: the program, and the template of a new
// variable store.
func firmwareFiles(guest *libvirtxml.Domain) (paths []string) {
	if guest.OS == nil {
		return nil
	}
	if l := guest.OS.Loader; l != nil && filepath.IsAbs(l.Path) {
		paths = append(paths, l.Path)
	}
	for _, p := range []string{guest.OS.Kernel, guest.OS.Initrd} {
		if filepath.IsAbs(p) {
			paths = append(paths, p)
		}
	}
	return paths
}

// emulatesTPM tells whether swtpm runs beside the guest.
func emulatesTPM(guest *libvirtxml.Domain) bool {
	return guest.Devices != nil && slices.ContainsFunc(guest.Devices.TPMs, func(t libvirtxml.DomainTPM) bool {
		return t.Backend != nil && t.Backend.Emulator != nil
	})
}

// hasSwtpm reads it from a host's domain capabilities. One that does not tell is believed to have it.
func hasSwtpm(caps string) bool {
	doc := &libvirtxml.DomainCaps{}
	if doc.Unmarshal(caps) != nil || doc.Devices == nil || doc.Devices.TPM == nil {
		return true
	}
	tpm := doc.Devices.TPM
	if tpm.Supported == "no" {
		return false
	}
	for _, e := range tpm.Enums {
		if e.Name == "backendModel" {
			return slices.Contains(e.Values, "emulator")
		}
	}
	return true
}

// checkFirmware wants the files and programs of the guest's firmware at the target.
func (m *mover) checkFirmware(ctx context.Context, guest *libvirtxml.Domain) error {
	for _, path := range firmwareFiles(guest) {
		if err := m.refuse(m.checkFile(ctx, path)); err != nil {
			return err
		}
	}
	if !emulatesTPM(guest) {
		return nil
	}
	return m.checkTPM(ctx, guest)
}

// parents is how many directories above one that cannot be looked into may show that it does not exist.
const parents = 2

// shower is as much of [Surroundings] as it takes to look for a file.
type shower interface {
	Names(ctx context.Context, dir string) ([]string, error)
}

// shows tells whether a host shows a file.
func shows(ctx context.Context, host shower, path string, up int) libvirt.Visible {
	dir := filepath.Dir(path)
	names, err := host.Names(ctx, dir)
	switch {
	case err == nil && slices.Contains(names, filepath.Base(path)):
		return libvirt.VisibleYes
	case err == nil, up > 0 && dir != "/" && shows(ctx, host, dir, up-1) == libvirt.VisibleNo:
		return libvirt.VisibleNo
	}
	return libvirt.VisibleUnknown
}

// checkFile refuses a target that does not show a file which the source shows.
func (m *mover) checkFile(ctx context.Context, path string) error {
	there := shows(ctx, m.target.Host, path, parents)
	switch {
	case there == libvirt.VisibleYes:
		return nil
	case there == libvirt.VisibleUnknown || shows(ctx, m.source.Host, path, parents) != libvirt.VisibleYes:
		m.note(fmt.Sprintf("whether the target has %q, which the guest boots from, was not checked", path))
		return nil
	}
	return &Refusal{CheckFirmware, fmt.Sprintf("the target has no file %q, which the guest boots from", path),
		"install there the package that it is from, in the same version", nil}
}

// checkTPM refuses a target without swtpm, where the source's libvirt tells of its own.
func (m *mover) checkTPM(ctx context.Context, guest *libvirtxml.Domain) error {
	ask := func(h Host) (bool, error) {
		doc, err := h.DomainCapabilities(ctx, guest.Devices.Emulator, machineOf(guest))
		return err != nil || hasSwtpm(doc), err
	}
	there, err := ask(m.target.Host)
	if err != nil {
		m.note("whether the target can emulate a TPM was not checked: " + err.Error())
	}
	if here, _ := ask(m.source.Host); here && !there {
		return &Refusal{CheckFirmware, "the target cannot emulate the guest's TPM",
			"install swtpm and swtpm-tools there, and restart its libvirt daemon, which leaves guests alone", nil}
	}
	return nil
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

// checkPages wants a guest's huge pages in the target's pool. QEMU takes all of them at its start, or ends.
func (m *mover) checkPages(ctx context.Context, guest *libvirtxml.Domain) error {
	if !usesHugePages(guest) || m.req.Memory == MemoryIgnore {
		return nil
	}
	size, pages := hugePages(guest)
	if size == 0 {
		m.note("the target's huge pages were not checked: the guest does not say of which size they are")
		return nil
	}
	free, err := m.target.Host.FreePages(ctx, size)
	if err != nil {
		m.note("the target's huge pages were not checked: " + err.Error())
		return nil
	}
	if free < pages {
		return &Refusal{CheckMemory,
			fmt.Sprintf("the target has %d free huge pages of %d KiB, and the guest needs %d", free, size, pages),
			fmt.Sprintf("virsh -c %s allocpages %d %d --add", shellword.Word(m.req.TargetURI), size, pages-free), nil}
	}
	return nil
}

// compareHosts says in which way the target's processor is another than the source's, for a guest that has the host's
// own; "" for none that is known.
func compareHosts(source, target *libvirtxml.CapsHostCPU) string {
	if source == nil || target == nil || source.Model == "" || target.Model == "" {
		return ""
	}
	if source.Vendor != target.Vendor || source.Model != target.Model {
		return fmt.Sprintf("it is %s %s here, and %s %s there", source.Vendor, source.Model, target.Vendor, target.Model)
	}
	var missing []string
	for _, f := range source.FeatureFlags {
		if !slices.Contains(target.FeatureFlags, f) {
			missing = append(missing, f.Name)
		}
	}
	if len(missing) > 0 {
		return fmt.Sprintf("it lacks %q there", missing)
	}
	return ""
}

// checkCPU asks only where the answer is meant: an emulated processor does not depend on the host,
// and libvirt compares no host-passthrough ones. host-model is custom in a running guest's description.
func (m *mover) checkCPU(ctx context.Context, guest *libvirtxml.Domain) error {
	if guest.Type != "kvm" || guest.CPU == nil {
		return nil
	}
	if mode := guest.CPU.Mode; mode == "host-passthrough" || mode == "maximum" {
		m.comparePassthrough(mode)
		return nil
	}
	doc, err := guest.CPU.Marshal()
	if err != nil {
		return fmt.Errorf("describe the processor of guest %q: %w", m.req.Guest, err)
	}
	ok, err := m.target.Host.CompareCPU(ctx, machineOf(guest), doc)
	if err != nil {
		m.note("the processor was not checked: " + err.Error())
		return nil
	}
	if !ok {
		return &Refusal{CheckCPU, "the target's processor lacks features that the guest has",
			"give the guest a <cpu> that both hosts have: virsh hypervisor-cpu-baseline", nil}
	}
	return nil
}

// comparePassthrough warns of another processor, which libvirt lets pass: whether the guest survives it
// depends on what it uses.
func (m *mover) comparePassthrough(mode string) {
	if m.sourceCaps == nil || m.targetCaps == nil {
		return
	}
	if differs := compareHosts(m.sourceCaps.Host.CPU, m.targetCaps.Host.CPU); differs != "" {
		m.note(fmt.Sprintf("the guest has the host's own processor (%s), and %s: libvirt migrates it all the same, "+
			"and it may crash there", mode, differs))
	}
}
