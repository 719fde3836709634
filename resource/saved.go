package resource

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/replace"
)

const (
	// abortTime is how long a stop waits for a guest to go on whose saving was given up.
	abortTime = 2 * time.Second
	// staleAfter is how much later than the saved state a disk may have been written to: clocks of
	// file servers differ, and the file system counts in ticks.
	staleAfter = 10 * time.Second
)

// What a saved state's file has at the end of its name. The plain name, as VirtualDomain has it, is that of one
// that may be restored. It is taken away before libvirt is asked to: a guest that ran from it,
// for however short, has disks that fit it no more.
const (
	saving    = ".saving"    // it is being written, by a libvirt that does not mark it so
	restoring = ".restoring" // a start has begun to restore the guest from it
	stale     = ".stale"     // it does not fit the guest's disks, or nobody can tell
)

// partialMagic begins a file that libvirt has not written to its end (QEMU_SAVE_PARTIAL in
// libvirt's qemu_saveimage.h).
var partialMagic = []byte("LibvirtQemudPart")

var errNotWhole = errors.New("it was not written to its end")

// stateFile is where the guest is saved.
func (a *run) stateFile() string { return filepath.Join(a.Params.savesTo(), a.guest.Name+".state") }

// save is the rung that keeps the guest's memory: libvirt writes it to a file and ends the guest, and the
// next start restores it, on whichever node that is. Where it fails, the guest goes on.
func (a *run) save(ctx context.Context) error {
	var err error
	a.saving = true
	switch o := a.look(ctx); {
	case o.answer == beingSaved: // by an agent that was killed
		a.Log.Info("waiting for the end of a saving of the guest that is under way")
	case !o.executing() && o.answer != "paused/user":
		a.saving = false
		return errNotAlive
	default:
		err = a.callSave(ctx)
	}
	if err == nil {
		if _, gone := a.lookUntil(ctx, isGone); !gone {
			err = errTimeUp
		}
	}
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTime)
	defer cancel()
	if err == nil || a.look(after).verdict == notRunning { // the answer got lost, or the guest died
		return timely(after, func() error { return a.finishSaved(err) })
	}
	a.takeBack(context.WithoutCancel(ctx))
	return err
}

// savesAs is the name that libvirt is given for the guest's state: one by which it is not restored, where libvirt
// does not itself mark what is not whole.
func (a *run) savesAs() string {
	if libvirt.DriverOf(a.Params.Hypervisor).Can(libvirt.CanMarkSaved) {
		return a.stateFile()
	}
	return a.stateFile() + saving
}

// finishSaved gives the saved state the name by which it may be restored, once it is known to be whole. err is
// what libvirt said.
func (a *run) finishSaved(err error) error {
	file := a.savesAs()
	if werr := wholeness(file); werr != nil {
		return werr
	}
	if file == a.stateFile() {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w, as far as can be told: %w", errNotWhole, err)
	}
	return rename(file, a.stateFile())
}

func (a *run) callSave(ctx context.Context) error {
	conn, err := a.connectBriefly(ctx)
	if err != nil {
		return err
	}
	a.Log.Infof("saving the guest to %s", a.stateFile())
	a.step("saving")
	err = conn.Save(ctx, a.ref(), a.savesAs())
	a.dropBroken(err)
	a.refused = err != nil && !unclear(err)
	return err
}

// savedBytes is how large the saved state is, 0 where nobody can tell.
func (a *run) savedBytes(ctx context.Context) uint64 {
	ctx, cancel := within(ctx, storageTime)
	defer cancel()
	file := a.stateFile()
	info, err := timelyValue(ctx, func() (fs.FileInfo, error) { return os.Stat(file) })
	if err != nil {
		return 0
	}
	return uint64(info.Size())
}

// takeBack ends a job that saves the guest, and removes what it has written.
func (a *run) takeBack(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, abortTime)
	defer cancel()
	conn, err := a.connectBriefly(ctx)
	if err != nil {
		return
	}
	if libvirt.DriverOf(a.Params.Hypervisor).Can(libvirt.CanAbort) {
		a.dropBroken(conn.AbortJob(ctx, a.ref())) // an error most often says that there is no job
	}
	if w, ok := a.Witness.(Waker); ok && a.refused {
		a.wake(ctx, w)
	}
	o, runs := a.lookUntil(ctx, observation.executing)
	if !runs {
		a.Log.Warnf("the guest does not go on: %s", o)
		return
	}
	a.saving = false
	if err := timely(ctx, func() error { return removeIfThere(a.savesAs()) }); err != nil {
		a.Log.WithError(err).Warn("what was saved of the guest could not be removed, and the next start will set it aside")
	}
}

// wake lets a guest go on that stands still since its saving failed.
func (a *run) wake(ctx context.Context, w Waker) {
	halted, err := w.Halted(ctx, a.guest.Name, a.guest.UUID)
	if err != nil || !halted {
		return
	}
	if err := w.Wake(ctx, a.guest.Name, a.guest.UUID); err != nil {
		a.Log.WithError(err).Warn("the guest stands still since its saving failed, and cannot be told to go on")
		return
	}
	a.Log.Warn("the guest stood still since its saving failed, and was told to go on")
}

func removeIfThere(file string) error {
	err := os.Remove(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// takeSaved takes the file that the guest can be restored from out of the reach of any other start, and
// returns its new name, or "" where there is none. One that does not fit the guest's
// disks, whose XML is text, is set aside: a guest's memory on other disks destroys them.
func (a *run) takeSaved(ctx context.Context, text string) (file string, err error) {
	if a.Params.savesTo() == "" {
		return "", nil
	}
	plain := a.stateFile()
	fits := false // not to be read where the question was left behind
	err = timely(ctx, func() error {
		if err := a.setAside(plain+restoring, "a start that was interrupted may have run the guest from it"); err != nil {
			return err
		}
		why, err := staleness(plain, namesIn(text).disks)
		switch {
		case err != nil:
			return err
		case why != "":
			return a.setAside(plain, why)
		case ctx.Err() != nil: // nobody waits for it any more
			return ctx.Err()
		}
		fits = true
		return rename(plain, plain+restoring)
	})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", because(Generic, err, "cannot tell whether saved state %q can be restored", plain)
	case !fits:
		return "", nil
	}
	a.step("restoring")
	return plain + restoring, nil
}

// setAside gives the file a name by which it is never restored; that there is no file is no error.
func (a *run) setAside(file, why string) error {
	err := rename(file, a.stateFile()+stale)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("set %q aside: %w", file, err)
	}
	a.Log.Warnf("saved state %s is not restored, but set aside as %s, and the guest is booted: %s", file, stale, why)
	return nil
}

// rename is durable when it returns nil.
func rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return replace.SyncDir(filepath.Dir(to))
}

// wholeness returns errNotWhole for a file that libvirt has not written to its end.
func wholeness(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	magic := make([]byte, len(partialMagic))
	if _, err := io.ReadFull(f, magic); err != nil || bytes.Equal(magic, partialMagic) {
		return errNotWhole // too short is that, too
	}
	return nil
}

// staleness says why a saved state cannot be restored, or "".
func staleness(file string, disks []string) (string, error) {
	info, err := os.Stat(file)
	if err != nil {
		return "", err
	}
	switch err := wholeness(file); {
	case errors.Is(err, errNotWhole):
		return err.Error(), nil
	case err != nil:
		return "", err
	}
	for _, disk := range disks {
		d, err := os.Stat(disk)
		if err == nil && d.Mode().IsRegular() && d.ModTime().Sub(info.ModTime()) > staleAfter {
			return "disk " + disk + " was written to after it", nil
		}
	}
	return "", nil
}

// restore starts the guest from its saved state. Where libvirt refuses that, the file gets its name back
// for another try, here or elsewhere; where it is not known what libvirt did, it does not.
func (a *run) restore(ctx context.Context, conn Hypervisor, file string) error {
	a.Log.Infof("restoring the guest from %s", file)
	began := time.Now()
	err := conn.Restore(ctx, file)
	if err == nil {
		a.recordRestored(file, began)
		return nil
	}
	if unclear(err) || a.look(ctx).verdict != notRunning {
		return err
	}
	plain := a.stateFile()
	if rerr := timely(ctx, func() error { return rename(file, plain) }); rerr != nil {
		return fmt.Errorf("%w, and the saved state stays %q: %w", err, file, rerr)
	}
	a.Log.Warnf("to boot the guest instead, remove %s", plain)
	return err
}

// unclear tells whether it is not known what libvirt did: it gave no answer.
func unclear(err error) bool {
	return errors.Is(err, libvirt.ErrConnect) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// dropSaved removes the files of a guest that runs, which would be wrong from now on. A guest that
// is paused may be one that a person is saving just now.
func (a *run) dropSaved(ctx context.Context, o observation) {
	if a.Params.savesTo() == "" || o.libErr != nil || o.status.State == libvirt.Paused {
		return
	}
	ctx, cancel := within(ctx, storageTime)
	defer cancel()
	for _, file := range []string{a.stateFile(), a.stateFile() + restoring, a.stateFile() + saving} {
		err := timely(ctx, func() error { return os.Remove(file) })
		switch {
		case err == nil:
			a.Log.Infof("removed %s, as the guest runs", file)
		case !errors.Is(err, fs.ErrNotExist):
			a.Log.WithError(err).Errorf("the guest runs, and its saved state %s could not be removed: remove it by hand", file)
		}
	}
}
