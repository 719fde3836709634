package client

import (
	"context"
	"errors"
	"time"

	lv "libvirt.org/go/libvirt"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// Backups reads a running domain's disks at one instant, and keeps account of what it has written since. An error about
// a checkpoint or its bitmap is [libvirt.ErrCheckpoint]. libvirt 9.0 has all that is needed: a backup mode for each disk,
// and checks of a redefined checkpoint's bitmaps. No flag is used that came later.
type Backups struct{ *session }

// BackupBegin begins a backup, and makes its checkpoint at the same instant. When ctx ends first it may begin all the
// same: use AbortJob. That is also how a backup ends well, whose job blocks migrations and snapshots
// (virDomainBackupBegin).
func (c Backups) BackupBegin(ctx context.Context, name string, b libvirt.Backup) error {
	backup, checkpoint, err := b.Documents()
	if err != nil {
		return err
	}
	return doDomain(ctx, c.session, "begin a backup of", name, func(d *lv.Domain) error {
		return d.BackupBegin(backup, checkpoint, 0)
	})
}

// Job tells of the domain's job that is under way, and whether it is a backup (virDomainGetJobStats,
// virDomainBackupGetXMLDesc).
func (c Backups) Job(ctx context.Context, name string) (libvirt.Job, error) {
	return withDomain(ctx, c.session, "ask for the job of", name, func(d *lv.Domain) (j libvirt.Job, err error) {
		info, err := d.GetJobStats(0)
		if err != nil || info.Type == lv.DOMAIN_JOB_NONE {
			return j, err
		}
		j = libvirt.Job{Active: true, Backup: info.OperationSet && info.Operation == lv.DOMAIN_JOB_OPERATION_BACKUP}
		if !j.Backup {
			return j, nil
		}
		doc, err := d.BackupGetXMLDesc(0)
		if isCode(err, lv.ERR_NO_DOMAIN_BACKUP) { // it has ended meanwhile
			return libvirt.Job{}, nil
		}
		if err == nil {
			j.Socket, err = libvirt.BackupSocket(doc)
		}
		return j, err
	})
}

// CheckpointNames lists the domain's checkpoints, in no order.
func (c Backups) CheckpointNames(ctx context.Context, name string) (names []string, err error) {
	return withDomain(ctx, c.session, "list the checkpoints of", name, func(d *lv.Domain) (names []string, err error) {
		all, err := d.ListAllCheckpoints(0)
		for i := range all {
			n, nerr := all[i].GetName()
			if names = append(names, n); nerr != nil {
				err = nerr
			}
			_ = all[i].Free()
		}
		return names, err
	})
}

// DeleteCheckpoint forgets a checkpoint with its bitmaps; with metadataOnly it leaves the bitmaps, as is needed where
// they are broken. That there is none of the name is no error.
func (c Backups) DeleteCheckpoint(ctx context.Context, name, checkpoint string, metadataOnly bool) error {
	return doDomain(ctx, c.session, "delete checkpoint "+checkpoint+" of", name, func(d *lv.Domain) error {
		p, err := d.CheckpointLookupByName(checkpoint, 0)
		if isCode(err, lv.ERR_NO_DOMAIN_CHECKPOINT) {
			return nil
		}
		if err != nil {
			return err
		}
		defer func() { _ = p.Free() }()
		if metadataOnly {
			return p.Delete(lv.DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY)
		}
		return p.Delete(0)
	})
}

// RedefineCheckpoint makes libvirt know a checkpoint of which the disks have the bitmaps, whether it knew one of the
// name or not: a transient domain's do not outlive its process. Where a bitmap is missing or broken the error is
// [libvirt.ErrCheckpoint] (VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE_VALIDATE).
func (c Backups) RedefineCheckpoint(
	ctx context.Context, name, checkpoint string, targets []string, created time.Time,
) error {
	doc, err := libvirt.CheckpointXML(checkpoint, targets, created)
	if err != nil {
		return err
	}
	const flags = lv.DOMAIN_CHECKPOINT_CREATE_REDEFINE | lv.DOMAIN_CHECKPOINT_CREATE_REDEFINE_VALIDATE
	return doDomain(ctx, c.session, "redefine checkpoint "+checkpoint+" of", name, func(d *lv.Domain) error {
		p, err := d.CreateCheckpointXML(doc, flags)
		if err != nil {
			return err
		}
		return p.Free()
	})
}

// Freeze has the guest's agent write all that its file systems hold back, and stop writing to them until Thaw: call that
// also after an error, as an answer may have been lost (virDomainFSFreeze).
func (c Backups) Freeze(ctx context.Context, name string) error {
	return doDomain(ctx, c.session, "freeze the file systems of", name, func(d *lv.Domain) error {
		return d.FSFreeze(nil, 0)
	})
}

// Thaw lets the guest's file systems go on. That none is frozen is no error (virDomainFSThaw).
func (c Backups) Thaw(ctx context.Context, name string) error {
	return doDomain(ctx, c.session, "thaw the file systems of", name, func(d *lv.Domain) error {
		return d.FSThaw(nil, 0)
	})
}

// PutAside has a running domain write to new qcow2 images over its disks, all from the same instant on; files are their
// paths by target. When ctx ends first it may do so all the same (virDomainSnapshotCreateXML).
func (c Backups) PutAside(ctx context.Context, name string, files map[string]string) error {
	doc, err := libvirt.SnapshotXML(files)
	if err != nil {
		return err
	}
	const flags = lv.DOMAIN_SNAPSHOT_CREATE_DISK_ONLY | lv.DOMAIN_SNAPSHOT_CREATE_ATOMIC |
		lv.DOMAIN_SNAPSHOT_CREATE_NO_METADATA
	return doDomain(ctx, c.session, "put overlays on the disks of", name, func(d *lv.Domain) error {
		s, err := d.CreateSnapshotXML(doc, flags)
		if err != nil {
			return err
		}
		return s.Free()
	})
}

// PutBack begins to write a disk's overlay into the image below it, unless that is under way. isReady says that both are
// the same, and are kept so: Pivot may be called (virDomainBlockCommit, virDomainGetBlockJobInfo).
func (c Backups) PutBack(ctx context.Context, name, target string) (isReady bool, err error) {
	return withDomain(ctx, c.session, "commit the overlay of "+target+" of", name, func(d *lv.Domain) (bool, error) {
		job, err := d.GetBlockJobInfo(target, 0)
		switch {
		case err != nil:
			return false, err
		case job.Type == lv.DOMAIN_BLOCK_JOB_TYPE_UNKNOWN: // none
			return false, d.BlockCommit(target, "", "", 0, lv.DOMAIN_BLOCK_COMMIT_ACTIVE|lv.DOMAIN_BLOCK_COMMIT_DELETE)
		case job.Type != lv.DOMAIN_BLOCK_JOB_TYPE_ACTIVE_COMMIT:
			return false, errors.New("libvirt is at work on the disk")
		}
		return job.End > 0 && job.Cur == job.End, nil // Source: qemuBlockJobInfoTranslate in libvirt's src/qemu
	})
}

// Pivot has the domain go on from the image below an overlay, which it removes (virDomainBlockJobAbort).
func (c Backups) Pivot(ctx context.Context, name, target string) error {
	return doDomain(ctx, c.session, "leave the overlay of "+target+" of", name, func(d *lv.Domain) error {
		return d.BlockJobAbort(target, lv.DOMAIN_BLOCK_JOB_ABORT_PIVOT)
	})
}
