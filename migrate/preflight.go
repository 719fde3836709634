package migrate

import (
	"context"
	"time"

	"github.com/vmferry/vmferry/migrate/preflight"
	"github.com/vmferry/vmferry/migrate/record"
)

// refuse is why a move is not begun.
func refuse(check, reason, hint string, err error) *preflight.Refusal {
	return &preflight.Refusal{Check: check, Reason: reason, Hint: hint, Err: err}
}

// askTime bounds a question to one end beside the migration.
const askTime = 5 * time.Second

// preflight asks both ends all that can be asked, and takes over what was found. all is preflight.Request.All.
func (m *mover) preflight(ctx context.Context, all bool) error {
	paused := m.found.Paused // of a pre-flight before: a guest that was paused on purpose stays so
	var err error
	m.found, err = preflight.Run(ctx, m.req.preflight(m.uuid, all), preflight.Deps{
		Source: &m.source, Target: &m.target, Halted: m.deps.Halted, Lock: m.lockGuest, SharedBy: m.sharedBy,
		Resolve: m.deps.Resolve, Own: m.deps.Own, Conf: m.deps.Conf, Log: m.log,
	})
	m.found.Paused = m.found.Paused || paused
	m.uuid, m.rec.UUID, m.rec.Memory = m.found.UUID, m.found.UUID, m.found.Memory
	m.rec.Notes = append(m.rec.Notes, m.found.Notes...)
	switch {
	case m.found.AtBoth:
		m.rec.Outcome = record.Unknown
	case m.found.AtSource:
		m.rec.Outcome = record.Stayed // until something is begun
	}
	m.disks.Plan(m.uuid, m.found.Copies)
	return err
}

// preflight is the request as the pre-flight takes it.
func (r Request) preflight(uuid string, all bool) preflight.Request {
	return preflight.Request{
		Guest: r.Guest, UUID: uuid, SourceURI: r.SourceURI, Target: r.Target, TargetURI: r.TargetURI,
		MigrateURI: r.MigrateURI, Bandwidth: r.Bandwidth, Unsafe: r.Unsafe, Memory: r.Memory, Disks: r.Disks,
		Options: r.Options, StartsNetworks: r.StartsNetworks, Fetch: r.Fetch, Adopt: r.Adopt, All: all,
	}
}

// lockGuest takes the guest's lock until the end of the move. The error is that another has it; a node without locks
// continues without.
func (m *mover) lockGuest(ctx context.Context, uuid string) error {
	if m.guard != nil {
		return nil
	}
	guard, err := m.deps.Slots.AcquireGuest(ctx, uuid)
	if err != nil && ctx.Err() != nil {
		return err
	}
	if err != nil {
		m.log.WithError(err).Info("the guest cannot be locked against other pre-flights and moves")
	}
	m.guard = guard
	return nil
}
