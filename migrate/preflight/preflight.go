package preflight

import (
	"context"
	"errors"
	"time"

	"libvirt.org/go/libvirtxml"

	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/shellword"
)

// Run asks both ends all that can be asked. The error is a [*Refusal], with Request.All only that of a guest which is
// not at the source. The findings are those up to there.
func Run(ctx context.Context, req Request, deps Deps) (Findings, error) {
	p := newInspection(req, deps)
	err := p.run(ctx)
	var r *Refusal
	if gone := errors.As(err, &r) && r.Check == CheckRunning && !p.found.AtSource; !gone || len(p.found.Refusals) > 0 {
		err = p.refuse(err)
	}
	return p.found, err
}

func (p *inspection) run(ctx context.Context) error {
	if err := p.source.Connect(ctx, connectTime); err != nil {
		return &Refusal{CheckSource, "the source's libvirt cannot be reached",
			"is libvirtd or virtqemud running here?", err}
	}
	here := p.source.Observe(ctx, p.req.Guest)
	if here.Err != nil && !errors.Is(here.Err, libvirt.ErrNoDomain) {
		return &Refusal{CheckSource, "the source's libvirt does not respond", "", here.Err}
	}
	if p.found.UUID == "" && here.Err == nil {
		p.found.UUID = here.Status.UUID
	}
	if here.Condition(p.found.UUID) == endpoint.Absent {
		return p.absentAtSource(ctx)
	}
	p.found.AtSource = true
	if err := p.refuse(checkSource(ctx, p, here.Status)); err != nil {
		return err
	}
	err := p.target.Connect(ctx, connectTime)
	switch {
	case p.found.PostCopyFailed:
		return checkOtherHalf(ctx, p, err)
	case p.found.Adopted:
		return nil // all was checked when it began, and the target's copy is its own
	case err != nil:
		return &Refusal{CheckTarget, "the target's libvirt cannot be reached", "is it open to " + p.req.Target +
			"'s peers? try: virsh -c " + shellword.Word(p.req.TargetURI) + " hostname", err}
	}
	return p.askAll(ctx)
}

// absentAtSource distinguishes a move that was made before from a guest that runs nowhere.
func (p *inspection) absentAtSource(ctx context.Context) error {
	refusal := &Refusal{CheckRunning, "the guest does not run at the source", "start it before it can be moved", nil}
	if err := p.target.Connect(ctx, connectTime); err != nil {
		refusal.Reason += ", and the target cannot be asked"
		refusal.Err = err
		return refusal
	}
	there := p.target.Observe(ctx, p.req.Guest)
	if there.Condition(p.found.UUID) != endpoint.Running {
		refusal.Reason += "; at the target: " + there.String()
		return refusal
	}
	if p.found.UUID == "" {
		p.note("the guest's UUID is not known here: the one at the target has the same name")
		p.found.UUID = there.Status.UUID
	}
	p.found.Already = true
	return nil
}

// askAll makes the checks, until the first refusal or with Request.All to their end.
func (p *inspection) askAll(ctx context.Context) error {
	if err := p.describe(ctx); err != nil {
		return err
	}
	for _, c := range table {
		if p.source.Host == nil || p.target.Host == nil {
			return nil // a refusal has said so
		}
		p.log.WithField("check", c.name).Debug("pre-flight check")
		ask, cancel := context.WithTimeout(ctx, c.limit)
		err := p.refuse(c.ask(ask, p))
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

// describe reads the guest's description, as it runs and as the target gets it.
func (p *inspection) describe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	guest, err := readGuest(ctx, p.source.Host, p.req.Guest)
	if err != nil {
		return &Refusal{CheckSource, "the guest's description cannot be read", "", err}
	}
	p.guest, p.found.Guest = guest, guest
	if doc, err := p.source.Host.Portable(ctx, p.req.Guest); err == nil {
		if sent := (&libvirtxml.Domain{}); sent.Unmarshal(doc) == nil {
			p.found.Guest, p.sent = sent, doc
		}
	}
	return nil
}

// entry is one check of a guest that runs at the source, with both ends connected. It changes nothing, and its error
// is a [*Refusal].
type entry struct {
	name  string // of its refusals; some refuse by a more precise one
	limit time.Duration
	ask   func(ctx context.Context, p *inspection) error
}

// table has all of them, in their order: what names the cause best goes first, and what needs the answers of others
// last.
var table = []entry{
	{CheckSameHost, capsTime, checkSameHost},
	{CheckDuplicate, 2 * endpoint.LookTime, checkDuplicate},
	{CheckHypervisor, askTime, checkHypervisor},
	{CheckMemory, askTime, checkMemory},
	{CheckMemory, askTime, checkHugePages},
	{CheckCPU, askTime, checkCPU},
	{CheckDisk, storageTime, checkDisks},
	{CheckNetwork, askTime, checkNetworks},
	{CheckFirmware, askTime, checkFirmware},
	{CheckHypervisor, askTime, checkAccepted},
	{CheckAddress, askTime, chooseAddress},
	{CheckTLS, 2 * askTime, checkTLS}, // for the address that was chosen
	{CheckLibvirt, 2 * connectTime, checkRehearsal},
}
