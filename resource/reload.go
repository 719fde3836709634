package resource

import "context"

// reload is called when only parameters changed that meta-data.xml calls reloadable. Each
// action reads them anew, so that there is nothing to do but to check them, and to write
// the note for the node daemon, which holds some.
func (a *run) reload(ctx context.Context) error {
	if err := a.validate(ctx); err != nil {
		return err
	}
	if o := a.settle(ctx); o.verdict == running && !a.guess {
		a.tryNoteGuest(o)
	}
	return nil
}
