package resource

import (
	"context"

	"github.com/vmferry/vmferry/resource/notes"
)

// migrateFrom waits until the guest that was migrated here runs.
func (a *run) migrateFrom(ctx context.Context) error {
	if a.Source != "" {
		a.Log = a.Log.WithField("peer", a.Source)
		if err := a.noteIntent(notes.Inward, a.Source, a.guest.UUID); err != nil {
			return err
		}
	}
	runs, err := a.waitRunning(ctx, "migrated here")
	if err != nil {
		return err
	}
	defer a.announcer.announce(ctx, runs.Processes)()
	a.removeIntentNote()
	return a.settleIn(ctx)
}
