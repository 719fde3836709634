package recorded

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/guestprobe"
	"github.com/vmferry/vmferry/migrate/history"
	"github.com/vmferry/vmferry/migrate/record"
)

// How much longer than the record what was learned may take.
const (
	learnTime  = 500 * time.Millisecond
	byHandTime = 10 * time.Second
)

// Moves are the migrations away from a node, and to it, that are recorded in its state directory.
type Moves struct {
	StateDir string
	Log      logrus.FieldLogger
	// ByHand says that a person waits, and no cluster manager: the blackout is measured to its end, also after an
	// interrupt and beyond the deadline, and a slow disk gets more time.
	ByHand bool
}

// Move is migrate.Move, with a probe of the targets watch from the first phase after the queue on. The record of a
// failed migration is kept, too.
func (m Moves) Move(
	ctx context.Context, req migrate.Request, deps migrate.Deps, watch []string,
) (record.Record, error) {
	deps.Log, deps.Links, deps.Guests = m.Log, m.path(history.LinksFile), m.path(history.GuestsFile)
	var probe *guestprobe.Probe
	progress := req.Progress
	req.Progress = func(p migrate.Progress) {
		if probe == nil && len(watch) > 0 && p.Phase != migrate.PhaseSlot { // while it waits in the queue it needs none
			probe = guestprobe.Begin(ctx, watch)
		}
		if progress != nil {
			progress(p)
		}
	}
	rec, err := migrate.Move(ctx, req, deps)
	if probe != nil {
		m.Judge(ctx, probe, &rec)
	}
	learned := make(chan error, 1)
	go func() { // beside the record: the disk may give no answer
		learned <- errors.Join(history.LearnLink(deps.Links, rec), history.LearnGuest(deps.Guests, rec))
	}()
	m.Append(rec)
	patience := learnTime // the cluster manager waits for the migration
	if m.ByHand {
		patience = byHandTime
	}
	select {
	case lerr := <-learned:
		if lerr != nil {
			m.Log.WithError(lerr).Warn("what the migration taught is lost")
		}
	case <-time.After(patience):
		m.Log.Warnf("what the migration taught is not on the disk yet, which gives no answer: type df %s", m.StateDir)
	}
	return rec, err
}

func (m Moves) path(name string) string { return filepath.Join(m.StateDir, name) }

// Append adds a record to those of the node. The guest is where it is, whatever becomes of that.
func (m Moves) Append(rec record.Record) {
	if err := history.AppendRecord(m.path(history.RecordsFile), rec); err != nil {
		m.Log.WithError(err).Warn("the migration is not recorded: make the state directory writable")
	}
}

// Judge ends a probe, and enters what it saw into the record.
func (m Moves) Judge(ctx context.Context, probe *guestprobe.Probe, rec *record.Record) {
	if m.ByHand {
		ctx = context.WithoutCancel(ctx)
	}
	seen, err := probe.End(ctx, rec.Outcome == record.Moved)
	if err != nil {
		m.Log.WithError(err).Warn("the blackout of this migration is not measured")
	}
	for _, target := range seen.Mute {
		m.Log.Warnf("watch: %s never answered: in the guest, type blackout serve", target)
	}
	for _, b := range seen.Blackouts {
		m.Log.Infof("clients of %s were without an answer for %.1f ms (give or take %.1f ms)", b.Target, b.MS,
			b.ErrorMS)
	}
	rec.Judge(seen.Blackouts)
}
