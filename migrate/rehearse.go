package migrate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"libvirt.org/go/libvirtxml"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/shellword"
)

// rehearsal is what libvirt said when it was asked for the migration beforehand, by both ways to make it.
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
func (m *mover) checkRehearsal(ctx context.Context, _ *libvirtxml.Domain) error {
	if err := m.driver.Lacks(libvirt.CanRehearse); err != nil {
		m.note(fmt.Sprintf("what libvirt itself would refuse was not checked: %v", err))
		return nil
	}
	if slices.ContainsFunc(m.refusals, func(r *Refusal) bool { return r.Check == CheckJob }) {
		return nil // libvirt would wait for that job, for longer than the question may take
	}
	if err := m.keepApart(ctx); err != nil {
		return &Refusal{CheckJob, "another pre-flight or move of the guest is under way", "wait for it", err}
	}
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	r := m.rehearse(ctx)
	switch {
	case libvirt.Unimplemented(r.direct):
		m.note("what libvirt itself would refuse was not checked: " + r.direct.Error())
		return nil
	case errors.Is(r.direct, libvirt.ErrNoDomain):
		return &Refusal{CheckRunning, "the guest has left the source meanwhile", "", r.direct}
	case errors.Is(r.direct, context.DeadlineExceeded):
		return &Refusal{CheckConnection,
			fmt.Sprintf("the source's libvirt gets no answer from the target's within %v", connectTime), m.connectHint(), r.direct}
	}
	managed, check, err := r.judge()
	switch {
	case managed:
		m.managed = true
		m.note(fmt.Sprintf("the source's libvirt does not reach the target's (%s): this process manages the migration, "+
			"and its end aborts it", message(r.direct)))
	case check == CheckLibvirt:
		return &Refusal{check, "libvirt refuses to migrate the guest", m.libvirtHint(ctx, err), errors.New(message(err))}
	case err != nil:
		return &Refusal{check, "the source's libvirt does not reach the target's", m.connectHint(), errors.New(message(err))}
	}
	m.leaveCheckpoints(ctx)
	return nil
}

// leaveCheckpoints says which checkpoints stay behind. Newer libvirts (11.3) migrate a guest that has some, and the
// target knows none of them.
func (m *mover) leaveCheckpoints(ctx context.Context) {
	s, err := m.source.host.Snapshots(ctx, m.req.Guest)
	if err != nil || len(s.Checkpoints) == 0 {
		return
	}
	text := fmt.Sprintf("the checkpoints %q stay behind: the next backup there is a full one", s.Checkpoints)
	m.with = append(m.with, text)
	if !m.examines {
		m.note(text)
	}
}

// keepApart takes the guest's lock. The error is that another has it; a node without locks goes on without.
func (m *mover) keepApart(ctx context.Context) error {
	if m.guard != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	guard, err := m.deps.Slots.acquireGuest(ctx, m.uuid)
	if err != nil && ctx.Err() != nil {
		return err
	}
	if err != nil {
		m.log.WithError(err).Info("the pre-flight is not kept apart from others")
	}
	m.guard = guard
	return nil
}

// rehearse asks for both ways, for the second only where the first does not do. Before the second is taken the first is
// asked again: what it met may be over.
func (m *mover) rehearse(ctx context.Context) (r rehearsal) {
	params := m.params()
	r.direct = m.source.host.Rehearse(ctx, m.req.Guest, m.req.TargetURI, params)
	switch {
	case r.direct == nil:
	case params.Tunnelled || libvirt.Unimplemented(r.direct): // libvirt has no other way for it
		r.managed = r.direct
	case errors.Is(r.direct, context.DeadlineExceeded): // libvirt goes on with the question, which blocks another
		r.managed = r.direct
	default:
		params.Managed = true
		r.managed = m.source.host.Rehearse(ctx, m.req.Guest, m.req.TargetURI, params)
	}
	if r.direct != nil && r.managed == nil {
		r.direct = m.source.host.Rehearse(ctx, m.req.Guest, m.req.TargetURI, m.params())
	}
	return r
}

// message is what libvirt said, without what was asked.
func message(err error) string {
	var lerr *libvirt.Error
	if errors.As(err, &lerr) {
		return lerr.Message
	}
	return err.Error()
}

func (m *mover) connectHint() string {
	return "its daemon runs as root without your keys, agent and environment; try it there: virsh -c " +
		shellword.Word(m.req.TargetURI) + " hostname"
}

// libvirtHint says how to get rid of what libvirt refuses, as far as it can be told.
func (m *mover) libvirtHint(ctx context.Context, refused error) string {
	if hint := tlsHint(refused, m.req.Guest, m.req.Options.TLS); hint != "" {
		return hint
	}
	s, err := m.source.host.Snapshots(ctx, m.req.Guest)
	if err != nil {
		m.log.WithError(err).Info("whether the guest has snapshots is not known")
	}
	return cmp.Or(snapshotHint(m.req.Guest, s),
		"remove what it names, and the guest can be moved live; until then it has to be restarted elsewhere")
}

// snapshotHint names the snapshots and checkpoints of a guest, and how to remove what libvirt knows of them.
func snapshotHint(guest string, s libvirt.Snapshots) string {
	var hints []string
	for _, k := range []struct {
		what, verb, lost string
		names            []string
	}{
		{"snapshots", "snapshot-delete", "their data stays in the images, and libvirt cannot revert to them any more; " +
			"without --metadata it is deleted too", s.Snapshots},
		{"checkpoints", "checkpoint-delete", "the next backup is a full one", s.Checkpoints},
	} {
		if len(k.names) == 0 {
			continue
		}
		hints = append(hints, fmt.Sprintf("it has the %s %q: for each, virsh %s --metadata %s, by which libvirt forgets it: %s",
			k.what, k.names, k.verb, shellword.Operands(guest, k.names[0]), k.lost))
	}
	return strings.Join(hints, "; ")
}

// checkAccepted asks the target's libvirt whether its hypervisor has what the guest is made of: the emulator at that
// path, the machine type, each device. A refusal counts only where the source's libvirt, asked the same, has none.
func (m *mover) checkAccepted(ctx context.Context, _ *libvirtxml.Domain) error {
	if !m.driver.JobControl || m.sent == "" {
		return nil
	}
	err := m.target.host.Accepts(ctx, m.sent)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, libvirt.ErrConnect) || ctx.Err() != nil:
		m.note("whether the target's hypervisor has the guest's devices was not checked: " + err.Error())
		return nil
	}
	if here := m.source.host.Accepts(ctx, m.sent); here != nil {
		m.log.WithError(here).Info("the source's libvirt does not accept the guest's own description")
		return nil
	}
	return &Refusal{CheckHypervisor, "the target's libvirt cannot run this guest",
		"install there what the source has, at least as new", errors.New(message(err))}
}
