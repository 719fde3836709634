package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/mirror"
	"github.com/vmferry/vmferry/migrate/mirror/wire"
	"github.com/vmferry/vmferry/migrate/safefile"
	"github.com/vmferry/vmferry/migrate/shellword"
	"github.com/vmferry/vmferry/migrate/wait"
)

const (
	// undoTime bounds what ends a round. beginTime bounds the calls that begin one, also beyond the end of the round's
	// context: a backup that begins after it was given up would block a move of the guest.
	undoTime, beginTime = 30 * time.Second, 20 * time.Second
	// jobEvery is how often libvirt is asked whether a job has ended.
	jobEvery = 50 * time.Millisecond
)

// live is a round of a guest that runs.
func (r *round) live(ctx context.Context) error {
	if err := steps(ctx, r.find, r.abort, r.compare, r.sweep, r.plan, r.announce); err != nil { // abort: fails for another's job
		return err
	}
	err := steps(ctx, r.begin, r.copyLive)
	undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	if err = cmp.Or(err, r.abort(undo), context.Cause(ctx)); err != nil { // abort also is a backup's normal end
		_ = r.Hypervisor.DeleteCheckpoint(undo, r.Guest, r.Point.String(), false) // a later round's sweep tries, too
		return err
	}
	if err = r.commit(ctx); err == nil {
		_ = r.sweep(undo)
	}
	return err
}

// quiet is Source.Quiet.
func (r *round) quiet(ctx context.Context) error {
	err := r.locate(ctx)
	if err != nil {
		return err
	}
	r.halted = false                   // what was left behind may be why
	if err = r.thaw(ctx); err != nil { // also as a guest that has started again may have no agent
		r.Warning = fmt.Errorf("its file systems may be frozen: type virsh domfsthaw %s: %w", shellword.Line(r.Guest), err)
	}
	err = r.abort(ctx)
	if errors.Is(err, errBusy) {
		return nil
	}
	return err
}

// frozen is a note that the guest's file systems may be frozen.
func (r *round) frozen() string { return filepath.Join(r.Dir, r.UUID+".frozen") }

// freeze has the guest's agent freeze its file systems. That is noted first: whatever happens, somebody will thaw them.
func (r *round) freeze(ctx context.Context) error {
	err := within(ctx, func() error { return cmp.Or(safefile.MakeDir(r.Dir), os.WriteFile(r.frozen(), nil, 0o600)) })
	if err == nil {
		err = r.Hypervisor.Freeze(ctx, r.Guest)
	}
	return err
}

// thaw thaws them where they may be frozen, also after the end of ctx.
func (r *round) thaw(ctx context.Context) error {
	if _, err := os.Lstat(r.frozen()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	err := r.Hypervisor.Thaw(ctx, r.Guest)
	if err == nil {
		err = os.Remove(r.frozen())
	}
	return err
}

var errBusy = errors.New("libvirt is busy with the guest: it is moved, saved or backed up")

// locate learns whether the guest runs, and where QEMU may serve a backup of it.
func (r *round) locate(ctx context.Context) error {
	status, err := r.Hypervisor.Status(ctx, r.Guest)
	if err != nil {
		return err
	}
	dirs, _ := filepath.Glob(filepath.Join(cmp.Or(r.Sockets, libvirt.QEMUDir), fmt.Sprintf("domain-%d-*", status.ID)))
	if !status.State.Active() || status.UUID != r.UUID || len(dirs) != 1 {
		return fmt.Errorf("it is %s, with UUID %s and %d directories of libvirt's", status.State, status.UUID, len(dirs))
	}
	r.socket, r.halted = filepath.Join(dirs[0], "vmferry-mirror.sock"), isHalted(status)
	return nil
}

// find learns what the guest consists of.
func (r *round) find(ctx context.Context) error {
	if err := r.locate(ctx); err != nil {
		return err
	}
	doc, err := r.Hypervisor.XML(ctx, r.Guest)
	if err == nil {
		r.disks, r.states, err = Disks(doc)
	}
	return err
}

// isHalted reports whether QEMU has paused a guest, as where a scratch file finds no room.
func isHalted(s libvirt.Status) bool { return s.State == libvirt.Paused && s.Reason == "ioerror" }

// abort ends a backup of the mirror's, and waits until it has ended; a guest that was paused for it goes on. Another job
// is an error.
func (r *round) abort(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, undoTime)
	defer cancel()
	for isOurs := false; ; isOurs = true {
		job, err := r.Hypervisor.Job(ctx, r.Guest)
		switch {
		case err == nil && !job.Active && isOurs:
			status, err := r.Hypervisor.Status(ctx, r.Guest)
			if err == nil && isHalted(status) && !r.halted {
				err = r.Hypervisor.Resume(ctx, r.Guest)
			}
			return err
		case err != nil || !job.Active:
			return err
		case job.Socket != r.socket:
			return errBusy
		}
		err = r.Hypervisor.AbortJob(ctx, r.Guest) // one that ends already cannot be aborted
		if wait.For(ctx, jobEvery) != nil {
			return fmt.Errorf("a backup does not end, and blocks a move of the guest: %w", cmp.Or(err, context.Cause(ctx)))
		}
	}
}

// sweep deletes the checkpoints that no disk's next round can begin at. A later round tries again what fails.
func (r *round) sweep(ctx context.Context) error {
	keep := map[string]bool{}
	for i := 0; r.Peer.has != nil && i < len(r.Peer.has.Disks); i++ {
		keep[r.Peer.has.Disks[i].At.String()] = true
	}
	names, err := r.Hypervisor.CheckpointNames(ctx, r.Guest)
	for _, n := range names {
		p, ours := mirror.ParsePoint(n)
		switch {
		case ours && keep[n]:
			r.known[p] = nil
		case ours && r.Hypervisor.DeleteCheckpoint(ctx, r.Guest, n, false) != nil: // as where its bitmap is broken
			_ = r.Hypervisor.DeleteCheckpoint(ctx, r.Guest, n, true)
		}
	}
	return err
}

// plan decides what the round sends. A delta begins at a checkpoint that libvirt knows, or whose bitmaps are there: one
// that it knows must not be redefined, since its bitmaps of disks that have gone on would be forgotten with that.
func (r *round) plan(ctx context.Context) error {
	err := within(ctx, r.look)
	if err != nil {
		return err
	}
	var due []mirror.Disk
	for _, d := range r.disks {
		if r.All = append(r.All, d.Target); r.Due == nil || r.Due(d.Target) {
			due, r.Sent = append(due, d), append(r.Sent, d.Target)
		}
	}
	r.Point, r.Parts = mirror.Next(r.own, r.Peer.has, due, func(p mirror.Point, _ mirror.Disk) bool {
		if _, asked := r.known[p]; !asked && !r.offline {
			r.known[p] = r.Hypervisor.RedefineCheckpoint(ctx, r.Guest, p.String(), r.at(p), time.Now())
		}
		if !errors.Is(r.known[p], libvirt.ErrCheckpoint) {
			err = cmp.Or(err, r.known[p])
		}
		return r.known[p] == nil && !r.Full
	})
	for _, p := range r.Parts {
		if r.deltas && p.Full {
			err = cmp.Or(err, fmt.Errorf("disk %q would have to be sent whole: %s", p.Target, p.Why))
		}
	}
	if err != nil {
		return err
	}
	return r.note(ctx, func(m *mirror.Manifest) { m.Last = r.Point.Generation })
}

// at are the guest's disks that are at a point at the replica.
func (r *round) at(p mirror.Point) (targets []string) {
	for _, d := range r.Peer.has.Disks {
		if d.At == p && slices.Contains(r.All, d.Target) {
			targets = append(targets, d.Target)
		}
	}
	return targets
}

// announce has the replica get ready for the round.
func (r *round) announce(context.Context) error {
	m := wire.Round{Next: r.Point, Disks: r.disks}
	for _, p := range r.Parts {
		i := slices.Index(r.All, p.Target)
		if m.Parts = append(m.Parts, wire.Part{Disk: i, Full: p.Full, Base: p.Base}); p.Full {
			m.Bytes += r.allocated[i]
		}
	}
	r.total = m.Bytes
	_, err := ask[wire.Ready](r.Peer, m)
	return err
}

// begin makes the checkpoint, and has QEMU serve the disks.
func (r *round) begin(ctx context.Context) (err error) {
	b, begun := libvirt.Backup{Checkpoint: r.Point.String(), Socket: r.socket}, time.Now()
	for _, p := range r.Parts {
		d := libvirt.BackupDisk{Target: p.Target, Scratch: p.Path + ScratchSuffix}
		if !p.Full {
			d.Incremental, d.Bitmap = p.Base.String(), bitmap
		}
		b.Disks = append(b.Disks, d)
		err = cmp.Or(err, within(ctx, func() error { return r.clear(d.Scratch) }))
	}
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), beginTime)
	defer cancel()
	if r.Freeze {
		without := r.freeze(limited)
		if without != nil {
			r.Warning = fmt.Errorf("its file systems are mirrored without a freeze: %w", without)
		}
		defer func() {
			if terr := r.thaw(ctx); without == nil {
				err = cmp.Or(err, terr)
			}
			r.Begin = time.Since(begun)
		}()
	}
	if err = context.Cause(ctx); err == nil {
		err = r.Hypervisor.BackupBegin(limited, r.Guest, b)
	}
	for _, p := range r.Parts {
		if errors.Is(err, libvirt.ErrCheckpoint) && !p.Full { // the next round asks whether its bitmaps are there
			_ = r.Hypervisor.DeleteCheckpoint(limited, r.Guest, p.Base.String(), true)
		}
	}
	r.Begin = time.Since(begun)
	return err
}

// commit ends the round at the replica, and notes that.
func (r *round) commit(ctx context.Context) error {
	done, err := ask[wire.Done](r.Peer, wire.Commit{Sums: r.sums, States: r.states})
	if err == nil && done.Point != r.Point {
		err = fmt.Errorf("the other node has %s, and not %s", done.Point, r.Point)
	}
	if err != nil {
		return err
	}
	has := mirror.Manifest{UUID: r.UUID, Role: mirror.Replica, Point: r.Point}
	for _, d := range r.disks {
		if slices.Contains(r.Sent, d.Target) {
			d.At = r.Point
		} else if i := slices.IndexFunc(r.Peer.has.Disks, func(o mirror.Disk) bool { return o.Path == d.Path }); i >= 0 {
			d = r.Peer.has.Disks[i]
		}
		has.Disks = append(has.Disks, d)
	}
	r.Differences, r.Peer.has = done.Differences, &has
	return r.note(ctx, func(m *mirror.Manifest) {
		m.Point, m.Peer, m.Disks, m.States = r.Point, cmp.Or(r.To, m.Peer), r.disks, nil // a close has no other list of disks
		for _, s := range r.states {
			m.States = append(m.States, mirror.State{Path: s.Path})
		}
	})
}

// close is the last round, of a guest that has ended. Nobody writes to its disks then, so that the bitmaps of the next
// round's begin may be made after the data was read; where the guest runs QEMU's locks refuse that.
func (r *round) close(ctx context.Context) error {
	r.offline, r.deltas, r.disks, r.states = true, true, r.own.Disks, r.own.States
	if r.own.Overlay || len(r.disks) == 0 {
		return errors.New("it cannot be closed, as its disks do not have all that it wrote")
	}
	if err := r.plan(ctx); err != nil {
		return err
	}
	err := steps(ctx, r.announce, r.copyOffline, r.bitmaps, r.commit,
		func(ctx context.Context) error {
			return r.note(ctx, func(m *mirror.Manifest) { m.Closed = true })
		}, func(ctx context.Context) error {
			_, err := ask[wire.Done](r.Peer, wire.Close{Point: r.Point})
			return err
		})
	if err == nil {
		others := func(p mirror.Point, _ bool) bool { return p != r.Point }
		for _, d := range r.disks { // one that is left over does no harm
			_ = mirror.RemoveBitmaps(ctx, r.Run, d.Path, others)
		}
	}
	return err
}

// bitmaps adds those of this round to the images.
func (r *round) bitmaps(ctx context.Context) error {
	for _, p := range r.Parts {
		if out, err := r.Run(ctx, "qemu-img", "bitmap", "--add", "-f", "qcow2", p.Path, r.Point.String()); err != nil {
			return fmt.Errorf("bitmap %s of disk %q: %w: %s", r.Point, p.Target, err, out)
		}
	}
	return nil
}
