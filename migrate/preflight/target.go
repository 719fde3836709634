package preflight

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"libvirt.org/go/libvirtxml"

	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/libvirt"
)

// checkSameHost refuses the same host, and keeps both ends' capabilities.
func checkSameHost(ctx context.Context, p *inspection) (err error) {
	if p.sourceCaps, err = capabilities(ctx, p.source.Host, CheckSource); err != nil {
		return err
	}
	if p.targetCaps, err = capabilities(ctx, p.target.Host, CheckTarget); err != nil {
		return err
	}
	if u := p.targetCaps.Host.UUID; u != "" && u == p.sourceCaps.Host.UUID {
		p.sameHost = true
		return &Refusal{CheckSameHost, "source and target are the same host, or have the same host UUID " + u,
			"give another target, or set another host_uuid in libvirtd.conf or virtqemud.conf there: uuidgen", nil}
	}
	return nil
}

func capabilities(ctx context.Context, h endpoint.Host, check string) (*libvirtxml.Caps, error) {
	doc, err := h.Capabilities(ctx)
	caps := &libvirtxml.Caps{}
	if err == nil {
		err = caps.Unmarshal(doc)
	}
	if err != nil {
		return nil, &Refusal{check, "the host's capabilities cannot be read", "", err}
	}
	return caps, nil
}

// checkDuplicate refuses when the target has the guest, or another of its name.
func checkDuplicate(ctx context.Context, p *inspection) error {
	if p.sameHost {
		return nil // it would be the guest itself
	}
	there := p.target.Observe(ctx, p.req.Guest)
	if there.Err == nil && strings.EqualFold(there.Status.UUID, p.found.UUID) && !there.Status.State.Active() {
		return checkLeftover(ctx, p, there.Status)
	}
	p.found.AtBoth = there.Condition(p.found.UUID) == endpoint.Running
	return judgeDuplicate(there, p.found.UUID)
}

// judgeDuplicate is the rule about what the target says of an active guest of that name.
func judgeDuplicate(there endpoint.Observation, uuid string) error {
	switch {
	case errors.Is(there.Err, libvirt.ErrNoDomain):
		return nil
	case there.Err != nil:
		return &Refusal{CheckTarget, "the target's libvirt does not respond", "", there.Err}
	case !strings.EqualFold(there.Status.UUID, uuid):
		return &Refusal{CheckDuplicate, "the target has another guest of this name, with UUID " + there.Status.UUID,
			"rename or undefine it there", nil}
	case there.Condition(uuid) == endpoint.Running:
		return &Refusal{CheckDuplicate, "the guest runs at both ends",
			"stop one of them at once: its disks are in danger", nil}
	case there.Condition(uuid) == endpoint.Paused:
		return &Refusal{CheckDuplicate, "the target has a paused copy of the guest (" + there.Status.Reason + ")",
			"a failed migration left it, or one is under way: once none is, type virsh destroy there", nil}
	}
	return nil
}

// checkLeftover lets a definition of the same guest be, which is not active. A guest without one is listed so only
// while something is done with it; Xen's driver continues with that for ever where the source died in the midst of a
// migration, and takes no other until it is restarted.
func checkLeftover(ctx context.Context, p *inspection, there libvirt.Status) error {
	if there.Persistent {
		return nil
	}
	if job, err := p.target.Host.JobStats(ctx, p.req.Guest); err != nil || !job.Active {
		return nil
	}
	return &Refusal{CheckDuplicate,
		"the target's libvirt is still at work on an earlier migration or start of the guest",
		"wait for it, or restart its daemon there, which leaves guests alone: systemctl restart libvirtd", nil}
}

// checkHypervisor wants the guest's architecture, type and machine among the target's.
func checkHypervisor(_ context.Context, p *inspection) error {
	want := machineOf(p.guest)
	if p.targetCaps == nil || runs(p.targetCaps, want) { // nil was refused
		return nil
	}
	return &Refusal{CheckHypervisor, fmt.Sprintf("the target cannot run guests of type %q, architecture %q, machine %q",
		want.VirtType, want.Arch, want.Type), "install the same hypervisor there, at least as new as the source's", nil}
}

// runs reports whether a host of these capabilities runs such a machine.
func runs(caps *libvirtxml.Caps, want libvirt.Machine) bool {
	for _, g := range caps.Guests {
		if g.Arch.Name != want.Arch {
			continue
		}
		for _, d := range g.Arch.Domains {
			if d.Type == want.VirtType && hasMachine(slices.Concat(d.Machines, g.Arch.Machines), want.Type) {
				return true
			}
		}
	}
	return false
}

// hasMachine is true for guests without a machine type, as those of container drivers are.
func hasMachine(machines []libvirtxml.CapsGuestMachine, want string) bool {
	is := func(m libvirtxml.CapsGuestMachine) bool { return m.Name == want || m.Canonical == want }
	return want == "" || slices.ContainsFunc(machines, is)
}
