package libvirt

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"time"

	"libvirt.org/go/libvirtxml"
)

// ErrCheckpoint says that a checkpoint, or its bitmap in a disk, is not there or is broken: what was written since is
// not known.
var ErrCheckpoint = errors.New("the checkpoint is not usable")

// Backup is a view of a guest's disks at one instant, which QEMU serves while the guest writes on.
type Backup struct {
	Checkpoint string // to make at that instant, with a bitmap of the same name in each of the disks
	Socket     string // where QEMU serves them over NBD, each under its target
	Disks      []BackupDisk
}

// BackupDisk is a disk that takes part in a backup.
type BackupDisk struct {
	Target  string // such as "vda"
	Scratch string // the file, which libvirt makes and removes, for what the guest overwrites meanwhile
	// Incremental is the checkpoint since which its writes are told by the bitmap that is served as Bitmap; "" for all of
	// the disk.
	Incremental string
	Bitmap      string
}

// Job is what libvirt is doing with a guest for long.
type Job struct {
	Active bool
	Backup bool   // it is a backup
	Socket string // of a Backup where QEMU serves it
}

// Documents describes the backup and its checkpoint (libvirt's formatbackup and formatcheckpoint pages). Disks that are
// not named take part in neither.
//
// Source: virDomainBackupAlignDisks and virDomainCheckpointAlignDisks in libvirt's src/conf.
func (b Backup) Documents() (backup, checkpoint string, err error) {
	disks, targets := []libvirtxml.DomainBackupPullDisk{}, []string{}
	for _, d := range b.Disks {
		disk := libvirtxml.DomainBackupPullDisk{Name: d.Target, Backup: "yes", BackupMode: "full", ExportName: d.Target,
			Driver:  &libvirtxml.DomainBackupDiskDriver{Type: "qcow2"},
			Scratch: &libvirtxml.DomainDiskSource{File: &libvirtxml.DomainDiskSourceFile{File: d.Scratch}}}
		if d.Incremental != "" {
			disk.BackupMode, disk.Incremental, disk.ExportBitmap = "incremental", d.Incremental, d.Bitmap
		}
		disks, targets = append(disks, disk), append(targets, d.Target)
	}
	doc := libvirtxml.DomainBackup{Pull: &libvirtxml.DomainBackupPull{
		Server: &libvirtxml.DomainBackupPullServer{UNIX: &libvirtxml.DomainBackupPullServerUNIX{Socket: b.Socket}},
		Disks:  &libvirtxml.DomainBackupPullDisks{Disks: disks}}}
	if backup, err = doc.Marshal(); err == nil {
		checkpoint, err = CheckpointXML(b.Checkpoint, targets, time.Time{})
	}
	return backup, checkpoint, err
}

// CheckpointXML describes a checkpoint of those disks, whose bitmaps are named as it is. created may be zero for one
// that is to be made.
func CheckpointXML(name string, targets []string, created time.Time) (string, error) {
	doc := libvirtxml.DomainCheckpoint{Name: name, Disks: &libvirtxml.DomainCheckpointDisks{}}
	if !created.IsZero() {
		doc.CreationTime = strconv.FormatInt(created.Unix(), 10)
	}
	for _, t := range targets {
		doc.Disks.Disks = append(doc.Disks.Disks,
			libvirtxml.DomainCheckpointDisk{Name: t, Checkpoint: "bitmap", Bitmap: name})
	}
	return doc.Marshal()
}

// SnapshotXML describes a snapshot of the disks with those targets, after which the guest writes to the files; other
// disks do not take part.
func SnapshotXML(files map[string]string) (string, error) {
	doc := libvirtxml.DomainSnapshot{Disks: &libvirtxml.DomainSnapshotDisks{}}
	for _, t := range slices.Sorted(maps.Keys(files)) {
		doc.Disks.Disks = append(doc.Disks.Disks, libvirtxml.DomainSnapshotDisk{Name: t, Snapshot: "external",
			Driver: &libvirtxml.DomainDiskDriver{Type: "qcow2"},
			Source: &libvirtxml.DomainDiskSource{File: &libvirtxml.DomainDiskSourceFile{File: files[t]}}})
	}
	return doc.Marshal()
}

// BackupSocket is where QEMU serves a backup that libvirt describes; "" where it is pushed.
func BackupSocket(doc string) (string, error) {
	var b libvirtxml.DomainBackup
	if err := b.Unmarshal(doc); err != nil {
		return "", err
	}
	if b.Pull == nil || b.Pull.Server == nil || b.Pull.Server.UNIX == nil {
		return "", nil
	}
	return b.Pull.Server.UNIX.Socket, nil
}
