package preflight

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/shellword"
)

// rehearsal is what libvirt said when it was requested the migration beforehand, by both ways to make it.
type rehearsal struct {
	direct  error // peer to peer: the source's daemon connects to the target's
	managed error // by this process, which connects to both; meaningful where direct is not nil
}

// judge is the whole rule: whether this process has to manage the migration, or which check refuses it and why.
// libvirt's own reasons against a guest are the same by both ways; what only the direct way meets is the connection
// to the target.
func (r rehearsal) judge() (managed bool, check string, err error) {
	switch {
	case r.direct == nil:
		return false, "", nil
	case r.managed == nil:
		return true, "", nil
	case r.direct.Error() == r.managed.Error():
		return false, CheckLibvirt, r.direct
	}
	return false, CheckConnection, r.direct
}

// checkRehearsal asks libvirt itself, on the source, from where the migration will be made: whatever it refuses is
// found so, also what nobody thought of here. It goes last, as the other checks have more to say than libvirt's words.
func checkRehearsal(ctx context.Context, p *inspection) error {
	if err := p.driver.Lacks(libvirt.CanRehearse); err != nil {
		return p.unchecked("what libvirt itself would refuse", err)
	}
	if slices.ContainsFunc(p.found.Refusals, func(r *Refusal) bool { return r.Check == CheckJob }) {
		return nil // libvirt would wait for that job, for longer than the question may take
	}
	wait, stop := context.WithTimeout(ctx, connectTime)
	defer stop()
	if err := p.deps.Lock(wait, p.found.UUID); err != nil {
		return &Refusal{CheckJob, "another pre-flight or move of the guest is under way", "wait for it", err}
	}
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	r := rehearse(ctx, p)
	switch {
	case libvirt.Unimplemented(r.direct):
		return p.unchecked("what libvirt itself would refuse", r.direct)
	case errors.Is(r.direct, libvirt.ErrNoDomain):
		return &Refusal{CheckRunning, "the guest is not at the source any more", "", r.direct}
	case errors.Is(r.direct, context.DeadlineExceeded):
		return &Refusal{CheckConnection, fmt.Sprintf("the source's libvirt gets no answer from the target's within %v",
			connectTime), connectHint(p), r.direct}
	}
	managed, check, err := r.judge()
	switch {
	case managed:
		p.found.Params.Managed = true
		p.note(fmt.Sprintf("the source's libvirt does not reach the target's (%v): this process manages the "+
			"migration, which is aborted when it ends", message(r.direct)))
	case check == CheckLibvirt:
		return &Refusal{check, "libvirt refuses to migrate the guest", libvirtHint(ctx, p, err), message(err)}
	case err != nil:
		return &Refusal{check, "the source's libvirt does not reach the target's", connectHint(p), message(err)}
	}
	noteCheckpoints(ctx, p)
	return nil
}

// noteCheckpoints says which checkpoints stay behind. Newer libvirts (11.3) migrate a guest that has some, and the
// target knows none of them.
func noteCheckpoints(ctx context.Context, p *inspection) {
	s, err := p.source.Host.Snapshots(ctx, p.req.Guest)
	if err != nil || len(s.Checkpoints) == 0 {
		return
	}
	text := fmt.Sprintf("the checkpoints %q stay behind: the next backup there is a full one", s.Checkpoints)
	p.found.With = append(p.found.With, text)
	if !p.req.All {
		p.note(text)
	}
}

// rehearse asks for both ways, for the second only where the first does not do. Before the second is taken the first is
// asked again: what it met may be over.
func rehearse(ctx context.Context, p *inspection) (r rehearsal) {
	params := p.found.Params
	r.direct = p.source.Host.Rehearse(ctx, p.req.Guest, p.req.TargetURI, params)
	switch {
	case r.direct == nil:
	case params.Tunnelled || libvirt.Unimplemented(r.direct): // libvirt has no other way for it
		r.managed = r.direct
	case errors.Is(r.direct, context.DeadlineExceeded): // libvirt continues with the question, which blocks another
		r.managed = r.direct
	default:
		params.Managed = true
		r.managed = p.source.Host.Rehearse(ctx, p.req.Guest, p.req.TargetURI, params)
	}
	if r.direct != nil && r.managed == nil {
		r.direct = p.source.Host.Rehearse(ctx, p.req.Guest, p.req.TargetURI, p.found.Params)
	}
	return r
}

// message is what libvirt said, without what was asked.
func message(err error) error {
	var lerr *libvirt.Error
	if errors.As(err, &lerr) {
		return errors.New(lerr.Message)
	}
	return errors.New(err.Error())
}

func connectHint(p *inspection) string {
	return "its daemon runs as root without your keys, agent and environment; try it there: virsh -c " +
		shellword.Word(p.req.TargetURI) + " hostname"
}

// libvirtHint says how to get rid of what libvirt refuses, as far as that is known.
func libvirtHint(ctx context.Context, p *inspection, refused error) string {
	if hint := tlsHint(refused, p.req.Guest, p.req.Options.TLS); hint != "" {
		return hint
	}
	s, err := p.source.Host.Snapshots(ctx, p.req.Guest)
	if err != nil {
		p.log.WithError(err).Info("whether the guest has snapshots is not known")
	}
	return cmp.Or(snapshotHint(p.req.Guest, s),
		"remove what it names, and the guest can be moved live; until then it has to be restarted elsewhere")
}

// snapshotHint names the snapshots and checkpoints of a guest, and how to remove what libvirt knows of them.
func snapshotHint(guest string, s libvirt.Snapshots) string {
	var hints []string
	for _, k := range []struct {
		what, verb, lost string
		names            []string
	}{
		{"snapshots", "snapshot-delete", "their data stays in the images, and libvirt cannot revert to them; " +
			"without --metadata it is deleted too", s.Snapshots},
		{"checkpoints", "checkpoint-delete", "the next backup is a full one", s.Checkpoints},
	} {
		if len(k.names) == 0 {
			continue
		}
		hints = append(hints, fmt.Sprintf("it has the %s %q: for each, virsh %s --metadata %s, by which libvirt "+
			"forgets it: %s", k.what, k.names, k.verb, shellword.Operands(guest, k.names[0]), k.lost))
	}
	return strings.Join(hints, "; ")
}

// checkAccepted asks the target's libvirt whether its hypervisor has what the guest is made of: the emulator at that
// path, the machine type, each device. A refusal counts only where the source's libvirt, asked the same, has none.
func checkAccepted(ctx context.Context, p *inspection) error {
	if !p.driver.JobControl || p.sent == "" {
		return nil
	}
	err := p.target.Host.Accepts(ctx, p.sent)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, libvirt.ErrConnect) || ctx.Err() != nil:
		return p.unchecked("whether the target's hypervisor has the guest's devices", err)
	}
	if here := p.source.Host.Accepts(ctx, p.sent); here != nil {
		p.log.WithError(here).Info("the source's libvirt does not accept the guest's own description")
		return nil
	}
	return &Refusal{CheckHypervisor, "the target's libvirt cannot run this guest",
		"install there what the source has, at least as new", message(err)}
}
