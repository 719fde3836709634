package resource

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

const (
	// abortTime is how long a stop waits for a guest to go on whose saving was given up.
	abortTime = 2 * time.Second
	// staleAfter is how much later than the saved state a disk may have been written to: clocks of
	// file servers differ, and the file system counts in ticks.
	staleAfter = 10 * time.Second
)

// partialMagic begins a file that libvirt has not written to its end (QEMU_SAVE_PARTIAL in
// libvirt's qemu_saveimage.h).
var partialMagic = []byte("LibvirtQemudPart")

// stateFile is where the guest is saved, as VirtualDomain names it.
func (a *run) stateFile() string { return filepath.Join(a.Params.Snapshot, a.guest.Name+".state") }

// saved saves the guest in place of shutting it down, and tells whether it is gone. Where that
// fails, the guest goes on, and there is time left for its shutdown.
func (a *run) saved(ctx context.Context) bool {
	if a.Params.Snapshot == "" {
		return false
	}
	limit := time.Until(a.began.Add(a.budget.graceful)) * 2 / 3
	soft, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	conn, err := a.connectBriefly(soft)
	if err == nil {
		a.Log.Infof("saving the guest to %s", a.stateFile())
		err = conn.Save(soft, a.guest.Name, a.stateFile())
		a.dropBroken(err)
	}
	if err == nil {
		_, gone := a.lookUntil(ctx, isGone)
		return gone
	}
	if a.look(ctx).verdict == notRunning {
		return true // the answer got lost
	}
	a.Log.WithError(err).Warn("the guest could not be saved, and is shut down")
	a.takeBack(ctx)
	return false
}

// takeBack ends a job that saves the guest, and removes what it has written.
func (a *run) takeBack(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, abortTime)
	defer cancel()
	conn, err := a.connectBriefly(ctx)
	if err != nil {
		return
	}
	a.dropBroken(conn.AbortJob(ctx, a.guest.Name)) // an error most often says that there is no job
	o, runs := a.lookUntil(ctx, observation.executing)
	if !runs {
		a.Log.Warnf("the guest does not go on: %s", o)
		return
	}
	if err := os.Remove(a.stateFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.Log.WithError(err).Warn("what was saved of the guest could not be removed, and the next start will set it aside")
	}
}

// savedState is the file that a start restores the guest from, or "". One that does not fit the
// guest's disks, whose XML is text, is set aside: a guest's memory on other disks destroys them.
func (a *run) savedState(text string) (string, error) {
	if a.Params.Snapshot == "" {
		return "", nil
	}
	file := a.stateFile()
	why, err := staleness(file, namesIn(text).disks)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", because(Generic, err, "cannot tell whether saved state %q can be restored", file)
	case why == "":
		return file, nil
	}
	a.Log.Warnf("saved state %s is not restored, but set aside as .stale, and the guest is booted: %s", file, why)
	if err := os.Rename(file, file+".stale"); err != nil {
		return "", because(Generic, err, "cannot set saved state %q aside", file)
	}
	return "", nil
}

// staleness says why a saved state cannot be restored, or "".
func staleness(file string, disks []string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	magic := make([]byte, len(partialMagic))
	if _, err := io.ReadFull(f, magic); err != nil || bytes.Equal(magic, partialMagic) {
		return "it was not written to its end", nil //nolint:nilerr // too short is that, too
	}
	for _, disk := range disks {
		d, err := os.Stat(disk)
		if err == nil && d.Mode().IsRegular() && d.ModTime().Sub(info.ModTime()) > staleAfter {
			return "disk " + disk + " was written to after it", nil
		}
	}
	return "", nil
}

// restore starts the guest from its saved state.
func (a *run) restore(ctx context.Context, conn Hypervisor, file string) error {
	a.Log.Infof("restoring the guest from %s", file)
	err := conn.Restore(ctx, file)
	if err == nil {
		return nil
	}
	a.Log.Warnf("to boot the guest instead, remove %s", file)
	return err
}

// dropSavedState removes the file of a guest that runs, which would be wrong from now on. A guest that
// is paused may be one that a person is saving just now.
func (a *run) dropSavedState(o observation) {
	if a.Params.Snapshot == "" || o.libErr != nil || o.status.State == libvirt.Paused {
		return
	}
	err := os.Remove(a.stateFile())
	switch {
	case err == nil:
		a.Log.Infof("removed %s, as the guest runs", a.stateFile())
	case !errors.Is(err, fs.ErrNotExist):
		a.Log.WithError(err).Error("the guest runs, and its saved state could not be removed: remove it by hand")
	}
}
