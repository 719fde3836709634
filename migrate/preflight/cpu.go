package preflight

import (
	"context"
	"fmt"
	"slices"

	"libvirt.org/go/libvirtxml"
)

// compareHosts says in which way the target's processor is another than the source's, for a guest that has the host's
// own; "" for none that is known.
func compareHosts(source, target *libvirtxml.CapsHostCPU) string {
	if source == nil || target == nil || source.Model == "" || target.Model == "" {
		return ""
	}
	if source.Vendor != target.Vendor || source.Model != target.Model {
		return fmt.Sprintf("it is %s %s here, and %s %s there",
			source.Vendor, source.Model, target.Vendor, target.Model)
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
func checkCPU(ctx context.Context, p *inspection) error {
	guest := p.guest
	if guest.Type != "kvm" || guest.CPU == nil {
		return nil
	}
	if mode := guest.CPU.Mode; mode == "host-passthrough" || mode == "maximum" {
		comparePassthrough(p, mode)
		return nil
	}
	doc, err := guest.CPU.Marshal()
	if err != nil {
		return fmt.Errorf("describe the processor of guest %q: %w", p.req.Guest, err)
	}
	ok, err := p.target.Host.CompareCPU(ctx, machineOf(guest), doc)
	if err != nil {
		return p.unchecked("the processor", err)
	}
	if !ok {
		return &Refusal{CheckCPU, "the target's processor lacks features that the guest has",
			"give the guest a <cpu> that both hosts have: virsh hypervisor-cpu-baseline", nil}
	}
	return nil
}

// comparePassthrough warns of another processor, which libvirt lets pass: whether the guest survives it
// depends on what it uses.
func comparePassthrough(p *inspection, mode string) {
	if p.sourceCaps == nil || p.targetCaps == nil {
		return
	}
	if differs := compareHosts(p.sourceCaps.Host.CPU, p.targetCaps.Host.CPU); differs != "" {
		p.note(fmt.Sprintf("the guest has the host's own processor (%s), and %s: libvirt migrates it all the same, "+
			"and it may crash there", mode, differs))
	}
}
