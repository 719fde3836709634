package migrate

import (
	"time"

	"github.com/vmferry/vmferry/migrate/diskcopy"
	"github.com/vmferry/vmferry/migrate/predict"
	"github.com/vmferry/vmferry/migrate/slot"
)

// mover is one Move under way: the parts that make it, and what they share.
type mover struct {
	account
	window
	job
	migration

	req     Request
	without []error // what the source's driver cannot do of what was requested
	relay   relaying
	queued  admission

	guard   *slot.Slot    // the guest's lock, from the rehearsal on
	known   predict.Known // of the guest and the link
	hurries func() bool   // others waited for the end of this move when it was first asked

	disks    diskcopy.Copy
	sharedBy func(path string) (kind string, err error)
}

// budget is what the blackout is to stay within.
func (m *mover) budget() time.Duration { return m.req.budget() }
