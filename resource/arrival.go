package resource

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/command"
	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/observe"
)

// isArrival reports whether what is here of the guest is what a migration has brought so far, with a driver that does
// not drop that by itself. One that was seen to run here may be paused by somebody.
func isArrival(d libvirt.Driver, o observe.Observation, noted bool) bool {
	return !d.TracksProcess && !noted &&
		o.Proc == observe.ProcIncoming && !o.IsRunning() && o.LibvirtErr == nil
}

// isStuck reports whether libvirt still has the guest on its list that Xen has not: its driver keeps one for ever in
// whose arrival it was interrupted, and takes no other start of it.
func isStuck(d libvirt.Driver, o observe.Observation) bool {
	return !d.TracksProcess &&
		o.LibvirtErr == nil && o.Proc == observe.ProcNone && o.Libvirt != observe.Absent && !o.Status.Persistent
}

var errStuckInLibvirt = errors.New("libvirt still lists it after an incoming migration failed")

// brokenMigration ends what a migration has left that was cut short.
type brokenMigration struct {
	guest   *observe.Observer
	pending func() (i notes.Intent, ok bool, err error)
	run     command.Runner
	log     logrus.FieldLogger
}

// restartLibvirt restarts libvirt's daemon, which is all that helps where it isStuck, and waits until it answers.
// Guests continue running, but what libvirt does with one just now would be interrupted: then this is left to a person.
func (b brokenMigration) restartLibvirt(ctx context.Context) error {
	const hint = "type systemctl restart libvirtd, which leaves guests alone"
	busy, err := observe.Ask(ctx, b.guest, func(conn observe.Hypervisor) ([]string, error) { return conn.Busy(ctx) })
	if err != nil {
		return err
	}
	if busy = slices.DeleteFunc(busy, func(name string) bool { return name == b.guest.Name }); len(busy) > 0 {
		return fmt.Errorf("%w, and has jobs on %s: when these are done, %s",
			errStuckInLibvirt, strings.Join(busy, ", "), hint)
	}
	b.log.Warn("libvirt still lists the guest after an incoming migration failed: restarting its daemon")
	b.guest.Disconnect()
	var failed []error
	daemons := []string{"libvirtd", b.guest.Driver().Daemon}
	for _, name := range daemons {
		if out, err := b.run(ctx, "systemctl", "try-restart", name+".service"); err != nil {
			failed = append(failed, command.Explain(out, err))
		}
	}
	if len(failed) == len(daemons) {
		return fmt.Errorf("%w, and its daemon cannot be restarted: %w: %s",
			errStuckInLibvirt, errors.Join(failed...), hint)
	}
	o, ok := b.guest.WaitFor(ctx, func(o observe.Observation) bool { return o.LibvirtErr == nil })
	switch {
	case !ok:
		return fmt.Errorf("libvirt does not answer since its daemon was restarted: %w", o.LibvirtErr)
	case isStuck(b.guest.Driver(), o):
		return fmt.Errorf("%w: %s", errStuckInLibvirt, hint)
	}
	return nil
}

// abort ends a migration that an agent which was killed has left under way: it would move the guest to
// where it is not wanted any more, while this action waits for it here. That there is none, as an error most often
// says, is nothing to fail for: what follows meets the same libvirt.
func (b brokenMigration) abort(ctx context.Context) {
	i, pending, err := b.pending()
	if err != nil || !pending || i.Way != notes.Outward {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, b.guest.CallTime)
	defer cancel()
	err = b.guest.Driver().Lacks(libvirt.CanAbort)
	if direct, ok := b.guest.Processes.(observe.MigrationAborter); ok && err != nil {
		err = direct.Abort(ctx, b.guest.Name, b.guest.UUID)
	} else if err == nil {
		err = b.guest.Call(ctx, func(conn observe.Hypervisor) error { return conn.AbortJob(ctx, b.guest.Ref()) })
	}
	if err != nil {
		b.log.WithError(err).Infof("a migration to %s that may be under way is not aborted", i.Peer)
		return
	}
	b.log.Infof("aborted the migration to %s, which was under way", i.Peer)
}
