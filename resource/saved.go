package resource

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/vmferry/vmferry/migrate/atomicfile"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/libvirt/saveimage"
	"github.com/vmferry/vmferry/migrate/safefile"
	"github.com/vmferry/vmferry/migrate/shellword"
	"github.com/vmferry/vmferry/resource/domainxml"
	"github.com/vmferry/vmferry/resource/observe"
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

// stateFile is where the guest is saved.
func (a *run) stateFile() string { return filepath.Join(a.Params.SavesTo(), a.guest.Name+".state") }

// save is the rung that keeps the guest's memory: libvirt writes it to a file and ends the guest, and the
// next start restores it, on whichever node that is. Where it fails, the guest goes on.
func (a *run) save(ctx context.Context) error {
	var err error
	a.saving = true
	switch o := a.guest.Look(ctx); {
	case o.Libvirt == observe.PausedSave: // by an agent that was killed
		a.Log.Info("waiting for the end of a saving of the guest that is under way")
	case !o.IsExecuting() && o.Libvirt != observe.PausedUser:
		a.saving = false
		return errNotAlive
	default:
		if err := a.prepareSave(ctx); err != nil {
			a.saving = false
			return fmt.Errorf("prepare %q: %w", a.savesAs(), err)
		}
		err = a.callSave(ctx)
	}
	if err == nil {
		if _, gone := a.guest.WaitFor(ctx, observation.IsGone); !gone {
			err = errTimeUp
		}
	}
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTime)
	defer cancel()
	if err == nil || a.guest.Look(after).State == observe.NotRunning { // the answer got lost, or the guest died
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
		return fmt.Errorf("%w, as far as can be told: %w", saveimage.ErrPartial, err)
	}
	return rename(file, a.stateFile())
}

// prepareSave makes sure that nobody else gets the guest's memory, and that nobody's file is overwritten with it.
func (a *run) prepareSave(ctx context.Context) error {
	ctx, cancel := within(ctx, storageTime)
	defer cancel()
	return timely(ctx, func() error {
		place, err := a.survey()
		if err == nil {
			err = place.cannotRestore(libvirt.DriverOf(a.Params.Hypervisor).Can(libvirt.CanRestoreAs))
		}
		if err == nil {
			err = place.prepare(a.savesAs())
		}
		if err == nil && a.savesAs() != a.stateFile() {
			err = safefile.ClearWay(a.stateFile(), place.hosts)
		}
		return err
	})
}

func (a *run) callSave(ctx context.Context) error {
	if err := a.guest.Connect(ctx); err != nil {
		return err
	}
	a.Log.Infof("saving the guest to %s", a.stateFile())
	a.step("saving")
	err := a.guest.Call(ctx, func(conn Hypervisor) error { return conn.Save(ctx, a.guest.Ref(), a.savesAs()) })
	a.refused = err != nil && !observe.HasNoAnswer(err)
	return err
}

// savedBytes is how large the saved state is, 0 where nobody can tell.
func (a *run) savedBytes(ctx context.Context) uint64 {
	ctx, cancel := within(ctx, storageTime)
	defer cancel()
	file := a.stateFile()
	info, err := timelyValue(ctx, func() (fs.FileInfo, error) { return os.Lstat(file) })
	if err != nil {
		return 0
	}
	return uint64(info.Size())
}

// takeBack ends a job that saves the guest, and removes what it has written.
func (a *run) takeBack(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, abortTime)
	defer cancel()
	if err := a.guest.Connect(ctx); err != nil {
		return
	}
	if libvirt.DriverOf(a.Params.Hypervisor).Can(libvirt.CanAbort) {
		_ = a.guest.Call(ctx, func(conn Hypervisor) error { return conn.AbortJob(ctx, a.guest.Ref()) }) // an error most often says that there is no job
	}
	if w, ok := a.Processes.(observe.Resumer); ok && a.refused {
		a.wake(ctx, w)
	}
	o, runs := a.guest.WaitFor(ctx, observation.IsExecuting)
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
func (a *run) wake(ctx context.Context, w observe.Resumer) {
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
// returns nil where there is none. text is the guest's XML. One that is another guest's, or does not fit this one's disks,
// is set aside: a guest's memory on other disks destroys them. What another user has put there is moved out of the way.
func (a *run) takeSaved(ctx context.Context, text string) (*savedState, error) {
	if a.Params.SavesTo() == "" {
		return nil, nil
	}
	s, err := timelyValue(ctx, func() (*savedState, error) { return a.claimSaved(ctx, text) })
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, because(Generic, err, "saved state %q is not restored", a.stateFile())
	}
	if s != nil {
		a.step("restoring")
	}
	return s, nil
}

func (a *run) claimSaved(ctx context.Context, text string) (*savedState, error) {
	plain := a.stateFile()
	place, err := a.survey()
	if err == nil {
		err = a.setAside(place, plain+restoring, "a start that was interrupted may have run the guest from it")
	}
	if err != nil {
		return nil, err
	}
	f, err := safefile.Open(plain, place.hosts)
	switch err = place.foreign(err); {
	case safefile.NotOurs(err):
		a.Log.Warnf("what is in the place of the saved state is not libvirt's, and is ignored, and the guest is booted: %s", err)
		// It may be libvirt's for another node or another label, where it must not be found when the guest's disks have gone on.
		return nil, safefile.ClearWay(plain, place.hosts)
	case err != nil:
		return nil, err
	}
	defer func() { _ = f.Close() }()
	s, why, err := a.judgeSaved(place, f, text)
	switch {
	case err != nil:
		return nil, err
	case why != "":
		return nil, a.setAside(place, plain, why)
	case ctx.Err() != nil: // nobody waits for it any more
		return nil, ctx.Err()
	}
	if err := rename(plain, s.file); err != nil {
		return nil, err
	}
	return s, isStill(f, s.file)
}

// judgeSaved decides what becomes of a saved state that is libvirt's: why is the reason to set it aside, and an error
// one to leave it, as it may be the guest's.
func (a *run) judgeSaved(place savePlace, f *os.File, text string) (s *savedState, why string, err error) {
	image, info, why, err := savedImage(f)
	if err != nil || why != "" {
		return nil, why, err
	}
	why, own, err := isOfGuest(image.XML, text)
	if why == "" {
		why = isStale(info.ModTime(), slices.Concat(domainxml.HostResourcesOf(text).Disks, domainxml.HostResourcesOf(image.XML).Disks))
	}
	if err != nil || why != "" {
		return nil, why, err
	}
	s = &savedState{file: a.stateFile() + restoring}
	err = place.isExposed()
	if err == nil {
		s.xml, s.asIs, err = restoreWith(image.XML, own, place.isRoots(info), libvirt.DriverOf(a.Params.Hypervisor).Can(libvirt.CanRestoreAs))
	}
	if err != nil {
		err = fmt.Errorf("%w; to boot the guest instead, type: %s", err, shellword.Line("rm", a.stateFile()))
	}
	return s, "", err
}

// isStill makes sure that a name is still that of an open file.
func isStill(f *os.File, name string) error {
	was, err := f.Stat()
	if err != nil {
		return err
	}
	now, err := os.Lstat(name)
	if err == nil && !os.SameFile(was, now) {
		err = fmt.Errorf("%q was exchanged while it was looked at", name)
	}
	return err
}

// setAside gives the file a name by which it is never restored; that there is no file is no error. Another user's stays.
func (a *run) setAside(place savePlace, file, why string) error {
	_, _, err := safefile.Look(file, place.hosts)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	aside := a.stateFile() + stale
	switch {
	case safefile.NotOurs(err):
		return safefile.ClearWay(file, place.hosts)
	case err == nil:
		err = safefile.ClearWay(aside, place.hosts)
	}
	if err == nil {
		err = rename(file, aside)
	}
	if err != nil {
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
	return atomicfile.SyncDir(filepath.Dir(to))
}

// wholeness returns an error for a file that libvirt has not written to its end.
func wholeness(file string) error {
	f, err := safefile.Open(file, safefile.Anyone)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	_, _, why, err := savedImage(f)
	if err == nil && why != "" {
		err = errors.New(why)
	}
	return err
}

// restore starts the guest from its saved state. Where libvirt refuses that, the file gets its name back
// for another try, here or elsewhere; where it is not known what libvirt did, it does not.
func (a *run) restore(ctx context.Context, conn Hypervisor, s *savedState) error {
	a.Log.Infof("restoring the guest from %s", s.file)
	if s.xml == "" && libvirt.DriverOf(a.Params.Hypervisor).Can(libvirt.CanRestoreAs) {
		a.Log.Warnf("%s, and gets those", errOtherDisks)
	}
	began := time.Now()
	err := conn.Restore(ctx, s.file, s.xml)
	if libvirt.IsOtherHardware(err) && s.xml != "" && s.asIs && a.guest.Look(ctx).State == observe.NotRunning {
		a.Log.WithError(err).Warn("the config file describes another hardware than the guest was saved with, which it keeps until its next start")
		err = conn.Restore(ctx, s.file, "")
	}
	if err == nil {
		a.recordRestored(s.file, began)
		return nil
	}
	if observe.HasNoAnswer(err) || a.guest.Look(ctx).State != observe.NotRunning {
		return err
	}
	plain := a.stateFile()
	if rerr := timely(ctx, func() error { return rename(s.file, plain) }); rerr != nil {
		return fmt.Errorf("%w, and the saved state stays %q: %w", err, s.file, rerr)
	}
	a.Log.Warnf("to boot the guest instead, type: %s", shellword.Line("rm", plain))
	if libvirt.IsOtherHardware(err) {
		a.Log.Warnf("to restore it with the hardware that it was saved with, if libvirt wrote the file, type: %s",
			shellword.Line("virsh", "-c", a.Params.Hypervisor, "restore", plain))
	}
	return err
}

// dropSaved removes the files of a guest that runs, which would be wrong from now on. A guest that
// is paused may be one that a person is saving just now.
func (a *run) dropSaved(ctx context.Context, o observation) {
	if a.Params.SavesTo() == "" || o.LibvirtErr != nil || o.Status.State == libvirt.Paused {
		return
	}
	ctx, cancel := within(ctx, storageTime)
	defer cancel()
	for _, file := range []string{a.stateFile(), a.stateFile() + restoring, a.stateFile() + saving} {
		err := timely(ctx, func() error { return a.removeSaved(file) })
		switch {
		case err == nil:
			a.Log.Infof("removed %s, as the guest runs", file)
		case !errors.Is(err, fs.ErrNotExist) && !safefile.NotOurs(err):
			a.Log.WithError(err).Errorf("the guest runs, and its saved state %s could not be removed: remove it by hand", file)
		}
	}
}

// removeSaved removes a file that may be libvirt's; another user's is its error.
func (a *run) removeSaved(file string) error {
	if _, err := os.Lstat(file); err != nil { // most often there is none
		return err
	}
	place, err := a.survey()
	if err == nil {
		_, _, err = safefile.Look(file, place.hosts)
		err = place.foreign(err)
	}
	if err != nil {
		return err
	}
	return os.Remove(file)
}
