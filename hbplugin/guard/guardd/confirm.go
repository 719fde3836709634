package guardd

import (
	"context"
	"fmt"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/journal"
	"github.com/vmferry/vmferry/migrate/wait"
)

// Confirm takes the word of the administrator, whose user number is uid, that he has seen a node off. It returns once
// the word is taken, with what was seen of that node; with an error once it is refused, or when ctx ends before the
// node's lease is seen expired.
func (d *Daemon) Confirm(ctx context.Context, node string, uid uint32) (evidence string, err error) {
	id := d.Header.ID(node)
	if id == 0 || id == d.ID {
		return "", fmt.Errorf("node %q cannot be confirmed off from here: the lease device names %v", node,
			d.Header.Nodes)
	}
	d.readMembers(ctx)
	var since time.Duration
	if !d.ask(ctx, func(now time.Duration) { since = now }) {
		return "", ctx.Err()
	}
	for {
		var taken bool
		asked := d.ask(ctx, func(now time.Duration) {
			if taken, err = d.guard.Confirm(id, since, now); taken {
				evidence = d.confirmed(id, uid, since, now)
			}
		})
		if asked && (taken || err != nil) {
			return evidence, err
		}
		if wait.For(ctx, step) != nil {
			return "", fmt.Errorf("the lease of node %s is not seen expired yet: type vmferry guard status", node)
		}
	}
}

// confirmed logs and records that the administrator's word was taken.
func (d *Daemon) confirmed(id int, uid uint32, since, now time.Duration) (evidence string) {
	e := journal.Event{Kind: journal.Confirmed, Target: d.name(id), Guests: d.Node.Measure().Guests}
	for _, v := range d.guard.Views(now) {
		if v.Node == id {
			e.Generation = v.Slot.Generation
			e.Evidence = fmt.Sprintf("user %d says that node %s is off; no renewal of its generation %d was seen for %s",
				uid, e.Target, e.Generation, v.Renewed.Round(time.Millisecond))
		}
	}
	d.Log.WithField("node", e.Target).Warn(e.Evidence)
	d.record(e, since, now)
	return e.Evidence
}
