package migrate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
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

// warnUnsupported notes, before the guest is touched, what this move cannot promise.
func (m *mover) warnUnsupported() {
	for _, promise := range []struct {
		what libvirt.Ability
		text string
	}{
		{libvirt.CanBoundPause, fmt.Sprintf("the blackout budget of %v cannot be held", m.req.budget())},
		{libvirt.CanTellPause, "the pause will not be known"},
	} {
		if err := m.driver.Lacks(promise.what); err != nil {
			m.rec.Unsupported = append(m.rec.Unsupported, promise.what)
			m.note(fmt.Sprintf("%s: %v", promise.text, err))
		}
	}
	for _, err := range m.without {
		m.note(fmt.Sprintf("left out: %v", err))
	}
}

// Examination is what the pre-flight of a move found. Nothing was changed.
type Examination struct {
	Refusals []*preflight.Refusal // why the move would be refused; empty where it would be begun
	With     []string             // what is copied with the guest or stays behind, in words
	Lacks    []string             // what a move copies or leaves out, and a start at the target would need, in words
	Notes    []string             // what could not be checked, and what a reader should know
}

// Examine runs the whole pre-flight of the move that req describes, without the move. Unlike [Move] it continues after a
// refusal, so that an operator sees everything that is in the way. It waits for no turn and no slot, and writes no
// record. Each question is bounded; together they take less than a second where both libvirts answer. The error is why
// it could not be examined at all: the end of ctx, or a guest that is not at the source.
func Examine(ctx context.Context, req Request, deps Deps) (x Examination, err error) {
	req.Adopt, req.Progress = false, nil
	m := newMover(req, deps)
	defer m.target.Close()
	defer m.source.Close()
	if err = m.req.check(); err == nil {
		var unable error
		m.req, m.without, unable = applyCapabilities(m.req, m.driver)
		err = m.preflight(ctx, true)
		m.warnUnsupported()
		x.Refusals = append(refusalIn(unable), m.found.Refusals...)
	} else {
		x.Refusals, err = refusalIn(err), nil
	}
	m.guard.Release()
	x.With, x.Lacks, x.Notes = m.found.With, m.found.Lacks, m.rec.Notes
	for _, c := range m.found.Copies {
		x.With = append(x.With, fmt.Sprintf("disk %s (%d MiB) is copied", c.Target, (c.Bytes+1<<20-1)>>20))
	}
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case m.found.Already:
		err = errors.New("it is at the target already")
	}
	if err != nil {
		err = fmt.Errorf("examine the move of guest %q to %q: %w", req.Guest, req.Target, err)
	}
	return x, err
}

func refusalIn(err error) []*preflight.Refusal {
	var r *preflight.Refusal
	if errors.As(err, &r) {
		return []*preflight.Refusal{r}
	}
	return nil
}
