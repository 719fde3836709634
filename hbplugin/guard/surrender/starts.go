package surrender

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vmferry/vmferry/migrate/wait"
	"github.com/vmferry/vmferry/resource/hostproc"
)

// EndStarts ends every start of a guest, every restore and every arrival of a migration that libvirt has begun: it
// kills libvirt's daemons. One that was stopped or starved for seconds would bring up a guest after the surrender. The
// guests that run are not touched by it, and systemd starts the daemons again; whoever was connected to them has to ask
// the guard before the next start. It returns nil when nothing of those daemons is left that could become a QEMU, so
// that a look at the guests that begins then sees all that can ever come of them. It goes on until then, or until ctx
// ends.
func (k *Killer) EndStarts(ctx context.Context) error {
	daemons, err := k.Daemons(ctx)
	_, killErr := k.killAll(ctx, daemons)
	if err := errors.Join(err, killErr); err != nil {
		return fmt.Errorf("end libvirt's daemons: %w", err)
	}
	// What they forked is older than this. The next daemons are not, or are killed once more.
	end := k.Now()
	for clean := 0; clean < 2; { // twice: a process that forks while it is looked for can hide its child
		left, err := k.Daemons(ctx)
		left = slices.DeleteFunc(left, func(p hostproc.Process) bool { return p.Began() > end })
		_, killErr := k.killAll(ctx, left)
		err = errors.Join(err, killErr)
		if clean++; len(left) > 0 || err != nil {
			clean = 0
		}
		if waitErr := wait.For(ctx, time.Millisecond); waitErr != nil {
			return fmt.Errorf("end what libvirt's daemons have begun: %w", errors.Join(waitErr, err))
		}
	}
	return nil
}

// Surrender kills every guest, ends what libvirt has begun, and kills what came of it meanwhile. It returns nil when
// nothing of a guest is left here, and nothing that was begun can bring one any more. The guests are killed first: a
// daemon that waits for a disk does not end.
//
// So does a node that leaves without a guest: as long as its slot said that the lease is held, another node could begin
// a migration to it without a question to this guard, and a start that was allowed long ago may still wait in a daemon.
// Nothing shows from outside that a daemon has neither. One that has ended by itself, as it had no work, is not
// started.
func (k *Killer) Surrender(ctx context.Context) error {
	if err := k.Prove(ctx); err != nil {
		return err
	}
	if err := k.EndStarts(ctx); err != nil {
		return err
	}
	return k.Prove(ctx)
}
