package resource

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/safefile"
	"github.com/vmferry/vmferry/migrate/shellword"
	"github.com/vmferry/vmferry/resource/savedstate"
)

// abortTime is how long a stop waits for a guest to go on whose saving was given up.
const abortTime = 2 * time.Second

// ExposedSaves is [savedstate.Place.Exposed] of a directory; uri is the hypervisor's. Of a config file that cannot be
// read the guest's own user is not known. It touches storage, which may hang.
func ExposedSaves(dir, uri, config string) error {
	guest, _ := readDomain(config)
	p, err := savedstate.Survey(dir, libvirt.QEMUDir, uri, guest.text)
	if err != nil {
		return err
	}
	return p.Exposed()
}

// observer is what a saver sees of the guest and of its libvirt.
type observer interface {
	look(ctx context.Context) observation
	lookUntil(ctx context.Context, done func(observation) bool) (o observation, ok bool)
	connectBriefly(ctx context.Context) (Hypervisor, error)
	dropBroken(err error)
	ref() string
	step(name string)
}

// saver saves a guest's memory to a file and restores it.
type saver struct {
	observer
	guest   *identity                        // as the action knows it by now
	dir     string                           // "" for a guest that is not saved
	uri     string                           // the hypervisor's
	survey  func() (savedstate.Place, error) // of dir
	witness Witness
	record  recorder
	log     logrus.FieldLogger

	saving  bool // libvirt was asked to save the guest, and this was not seen to end
	refused bool // libvirt itself said that it could not save the guest
}

func (s *saver) files() savedstate.Files {
	return savedstate.Files{Dir: s.dir, Guest: s.guest.Name, Driver: libvirt.DriverOf(s.uri), Survey: s.survey, Log: s.log}
}

// save is the rung that keeps the guest's memory: libvirt writes it to a file and ends the guest, and the
// next start restores it, on whichever node that is. Where it fails, the guest goes on.
func (s *saver) save(ctx context.Context) error {
	var err error
	s.saving = true
	switch o := s.look(ctx); {
	case o.answer == beingSaved: // by an agent that was killed
		s.log.Info("waiting for the end of a saving of the guest that is under way")
	case !o.executing() && o.answer != "paused/user":
		s.saving = false
		return errNotAlive
	default:
		if err := briefly(ctx, s.files().Prepare); err != nil {
			s.saving = false
			return fmt.Errorf("prepare %q: %w", s.files().SavePath(), err)
		}
		err = s.callSave(ctx)
	}
	if err == nil {
		if _, gone := s.lookUntil(ctx, isGone); !gone {
			err = errTimeUp
		}
	}
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTime)
	defer cancel()
	if err == nil || s.look(after).verdict == notRunning { // the answer got lost, or the guest died
		files := s.files()
		return timely(after, func() error { return files.Finish(err) })
	}
	s.abort(context.WithoutCancel(ctx))
	return err
}

func (s *saver) callSave(ctx context.Context) error {
	conn, err := s.connectBriefly(ctx)
	if err != nil {
		return err
	}
	s.log.Infof("saving the guest to %s", s.files().Path())
	s.step("saving")
	err = conn.Save(ctx, s.ref(), s.files().SavePath())
	s.dropBroken(err)
	s.refused = err != nil && !unclear(err)
	return err
}

// size is how large the saved state is, 0 where that is not known.
func (s *saver) size(ctx context.Context) uint64 {
	ctx, cancel := within(ctx, storageTime)
	defer cancel()
	path := s.files().Path()
	info, err := timelyValue(ctx, func() (fs.FileInfo, error) { return os.Lstat(path) })
	if err != nil {
		return 0
	}
	return uint64(info.Size())
}

// abort ends a job that saves the guest, and removes what it has written.
func (s *saver) abort(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, abortTime)
	defer cancel()
	conn, err := s.connectBriefly(ctx)
	if err != nil {
		return
	}
	if s.files().Driver.Can(libvirt.CanAbort) {
		s.dropBroken(conn.AbortJob(ctx, s.ref())) // an error most often says that there is no job
	}
	if w, ok := s.witness.(Waker); ok && s.refused {
		s.resume(ctx, w)
	}
	o, runs := s.lookUntil(ctx, observation.executing)
	if !runs {
		s.log.Warnf("the guest is not resumed: %s", o)
		return
	}
	s.saving = false
	if err := timely(ctx, s.files().Discard); err != nil {
		s.log.WithError(err).Warn("what was saved of the guest could not be removed: " +
			"the next start will set it aside")
	}
}

// resume resumes a guest that is paused since its saving failed.
func (s *saver) resume(ctx context.Context, w Waker) {
	paused, err := w.Halted(ctx, s.guest.Name, s.guest.UUID)
	if err != nil || !paused {
		return
	}
	if err := w.Wake(ctx, s.guest.Name, s.guest.UUID); err != nil {
		s.log.WithError(err).Warn("the guest is paused since its saving failed, and cannot be resumed")
		return
	}
	s.log.Warn("the guest was paused since its saving failed, and was resumed")
}

// claim is [savedstate.Files.Claim]; text is the guest's XML.
func (s *saver) claim(ctx context.Context, text string) (*savedstate.State, error) {
	if s.dir == "" {
		return nil, nil
	}
	files := s.files()
	state, err := timelyValue(ctx, func() (*savedstate.State, error) { return files.Claim(ctx, fitSaved(text)) })
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, because(Generic, err, "saved state %q is not restored", files.Path())
	}
	if state != nil {
		s.step("restoring")
	}
	return state, nil
}

// restore starts the guest from its saved state. Where libvirt refuses that, the file gets its name back
// for another try, here or elsewhere; where it is not known what libvirt did, it does not.
func (s *saver) restore(ctx context.Context, conn Hypervisor, state *savedstate.State) error {
	s.log.Infof("restoring the guest from %s", state.File)
	if state.OtherDisks {
		s.log.Warn("the guest had other disks when it was saved than its config file names, and gets those")
	}
	began := time.Now()
	err := conn.Restore(ctx, state.File, state.XML)
	if libvirt.IsOtherHardware(err) && state.XML != "" && state.AsIs && s.look(ctx).verdict == notRunning {
		s.log.WithError(err).Warn("the config file describes another hardware than the guest was saved with: " +
			"the guest keeps its own until the next start")
		err = conn.Restore(ctx, state.File, "")
	}
	if err == nil {
		s.record.restored(state.File, began)
		return nil
	}
	if unclear(err) || s.look(ctx).verdict != notRunning {
		return err
	}
	files := s.files()
	if rerr := timely(ctx, func() error { return files.Return(state) }); rerr != nil {
		return fmt.Errorf("%w, and the saved state stays %q: %w", err, state.File, rerr)
	}
	s.log.Warnf("to boot the guest instead, type: %s", shellword.Line("rm", files.Path()))
	if libvirt.IsOtherHardware(err) {
		s.log.Warnf("to restore it with the hardware that it was saved with, if libvirt wrote the file, type: %s",
			shellword.Line("virsh", "-c", s.uri, "restore", files.Path()))
	}
	return err
}

// unclear reports whether it is not known what libvirt did: it gave no answer.
func unclear(err error) bool {
	return errors.Is(err, libvirt.ErrConnect) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, context.Canceled)
}

// remove removes the files of a guest that runs, which would be wrong from now on. A guest that
// is paused may be one that a person is saving just now.
func (s *saver) remove(ctx context.Context, o observation) {
	if s.dir == "" || o.libErr != nil || o.status.State == libvirt.Paused {
		return
	}
	ctx, cancel := within(ctx, storageTime)
	defer cancel()
	files := s.files()
	for _, file := range files.All() {
		err := timely(ctx, func() error { return files.Remove(file) })
		switch {
		case err == nil:
			s.log.Infof("removed %s, as the guest runs", file)
		case !errors.Is(err, fs.ErrNotExist) && !safefile.NotOurs(err):
			s.log.WithError(err).Errorf("the guest runs, and its saved state could not be removed: type %s",
				shellword.Line("rm", file))
		}
	}
}
