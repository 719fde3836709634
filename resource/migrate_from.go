package resource

import "context"

// migrateFrom waits until the guest that was migrated here runs.
func (a *run) migrateFrom(ctx context.Context) error {
	if a.Source != "" {
		a.Log = a.Log.WithField("peer", a.Source)
		if err := a.intend(inward, a.Source, a.guest.UUID); err != nil {
			return err
		}
	}
	runs, err := a.waitRunning(ctx, "migrated here")
	if err != nil {
		return err
	}
	defer a.announce(ctx, runs.Processes)()
	a.resolve()
	return a.settleIn(ctx)
}
