package resource

import (
	"context"

	"github.com/vmferry/vmferry/resource/observe"
)

// reload is called when only parameters changed that the meta-data call reloadable. Each action reads them again, so
// that they are only checked, and the note for the node daemon, which has some of them, is written.
func (a *run) reload(ctx context.Context) error {
	if err := a.validate(ctx); err != nil {
		return err
	}
	if o := a.lookStable(ctx); o.State == observe.Running && !a.guess {
		a.tryNoteGuest(o)
	}
	return nil
}
