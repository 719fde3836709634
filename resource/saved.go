package resource

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/mirror"
	"github.com/vmferry/vmferry/migrate/record"
	"github.com/vmferry/vmferry/migrate/safefile"
	"github.com/vmferry/vmferry/migrate/shellword"
	"github.com/vmferry/vmferry/resource/domainxml"
	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/observe"
	"github.com/vmferry/vmferry/resource/ocf"
	"github.com/vmferry/vmferry/resource/savedstate"
	"github.com/vmferry/vmferry/resource/timely"
)

// abortTime is how long a stop waits for a guest to continue whose saving was given up.
const abortTime = 2 * time.Second

// ExposedSaves is [savedstate.Place.Exposed] of a directory; uri is the hypervisor's. Of a config file that cannot be
// read the guest's own user is not known. It touches storage, which may hang.
func ExposedSaves(dir, uri, config string) error {
	guest, _ := domainxml.Read(config)
	p, err := savedstate.Survey(dir, libvirt.QEMUDir, uri, guest.Text)
	if err != nil {
		return err
	}
	return p.Exposed()
}

var (
	errNotAlive = errors.New("the guest is paused, suspended or crashed")
	errLost     = errors.New("libvirt does not have the guest")
	errTimeUp   = errors.New("timed out")
)

// saver saves a guest's memory to a file and restores it.
type saver struct {
	guest  *observe.Observer
	dir    string                           // "" for a guest that is not saved
	uri    string                           // the hypervisor's
	survey func() (savedstate.Place, error) // of dir
	record recorder
	step   func(name string)
	log    logrus.FieldLogger

	saving  bool // libvirt was asked to save the guest, and this was not seen to end
	refused bool // libvirt itself said that it could not save the guest
}

func (s *saver) files() savedstate.Files {
	return savedstate.Files{
		Dir: s.dir, Guest: s.guest.Name, Driver: libvirt.DriverOf(s.uri), Survey: s.survey, Log: s.log,
	}
}

// save is the rung that keeps the guest's memory: libvirt writes it to a file and ends the guest, and the
// next start restores it, on whichever node that is. Where it fails, the guest continues.
func (s *saver) save(ctx context.Context) error {
	var err error
	s.saving = true
	o := s.guest.Look(ctx)
	switch why := unsavable(o); {
	case o.Libvirt == observe.PausedSave: // by an agent that was killed
		s.log.Info("waiting for the end of a saving of the guest that is under way")
	case why != nil:
		s.saving = false
		return why
	default:
		if err := timely.DoBriefly(ctx, s.files().Prepare); err != nil {
			s.saving = false
			return fmt.Errorf("prepare %q: %w", s.files().SavePath(), err)
		}
		err = s.callSave(ctx)
	}
	if err == nil {
		if _, gone := s.guest.WaitFor(ctx, observe.Observation.IsGone); !gone {
			err = errTimeUp
		}
	}
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTime)
	defer cancel()
	if err == nil || s.guest.Look(after).State == observe.NotRunning { // the answer got lost, or the guest died
		files := s.files()
		return timely.Do(after, func() error { return files.Finish(err) })
	}
	s.abort(context.WithoutCancel(ctx))
	return err
}

// unsavable is why libvirt cannot save the guest as it is; nil where it may.
func unsavable(o observe.Observation) error {
	switch {
	case o.LibvirtErr != nil:
		return fmt.Errorf("%w: %w", errNoLibvirt, o.LibvirtErr)
	case o.Libvirt == observe.Absent:
		return errLost
	case !o.IsExecuting() && o.Libvirt != observe.PausedUser:
		return errNotAlive
	}
	return nil
}

func (s *saver) callSave(ctx context.Context) error {
	if err := s.guest.Connect(ctx); err != nil {
		return err
	}
	s.log.Infof("saving the guest to %s", s.files().Path())
	s.step("saving")
	file := s.files().SavePath()
	err := s.guest.Call(ctx, func(conn observe.Hypervisor) error { return conn.Save(ctx, s.guest.Ref(), file) })
	s.refused = err != nil && !observe.HasNoAnswer(err)
	return err
}

// size is how large the saved state is, 0 where that is not known.
func (s *saver) size(ctx context.Context) uint64 {
	path := s.files().Path()
	info, err := timely.GetBriefly(ctx, func() (fs.FileInfo, error) { return os.Lstat(path) })
	if err != nil {
		return 0
	}
	return uint64(info.Size())
}

// abort ends a job that saves the guest, and removes what it has written.
func (s *saver) abort(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, abortTime)
	defer cancel()
	if err := s.guest.Connect(ctx); err != nil {
		return
	}
	if s.files().Driver.JobControl {
		// An error most often says that there is no job.
		_ = s.guest.Call(ctx, func(conn observe.Hypervisor) error { return conn.AbortJob(ctx, s.guest.Ref()) })
	}
	if w, ok := s.guest.Processes.(observe.Resumer); ok && s.refused {
		s.resume(ctx, w)
	}
	o, runs := s.guest.WaitFor(ctx, observe.Observation.IsExecuting)
	if !runs {
		s.log.Warnf("the guest is not resumed: %s", o)
		return
	}
	s.saving = false
	if err := timely.Do(ctx, s.files().Discard); err != nil {
		s.log.WithError(err).Warn("what was saved of the guest could not be removed: " +
			"the next start will set it aside")
	}
}

// resume resumes a guest that is paused since its saving failed.
func (s *saver) resume(ctx context.Context, w observe.Resumer) {
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
	state, err := timely.Get(ctx, func() (*savedstate.State, error) { return files.Claim(ctx, text) })
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, ocf.Wrapf(ocf.Generic, err, "saved state %q is not restored", files.Path())
	}
	if state != nil {
		s.step("restoring")
	}
	return state, nil
}

// restore starts the guest from its saved state. Where libvirt refuses that, the file gets its name back
// for another try, here or elsewhere; where it is not known what libvirt did, it does not.
func (s *saver) restore(ctx context.Context, conn observe.Hypervisor, state *savedstate.State) error {
	s.log.Infof("restoring the guest from %s", state.File)
	if state.OtherDisks {
		s.log.Warn("the guest had other disks when it was saved than its config file names, and gets those")
	}
	began := time.Now()
	err := conn.Restore(ctx, state.File, state.XML)
	if libvirt.IsOtherHardware(err) && state.XML != "" && state.AsIs && s.guest.Look(ctx).State == observe.NotRunning {
		s.log.WithError(err).Warn("the config file describes another hardware than the guest was saved with: " +
			"the guest keeps its own until the next start")
		err = conn.Restore(ctx, state.File, "")
	}
	if err == nil {
		s.record.restored(state.File, began)
		return nil
	}
	if observe.HasNoAnswer(err) || s.guest.Look(ctx).State != observe.NotRunning {
		return err
	}
	files := s.files()
	if rerr := timely.Do(ctx, func() error { return files.Return(state) }); rerr != nil {
		return fmt.Errorf("%w, and the saved state is now %q: %w", err, state.File, rerr)
	}
	s.log.Warnf("to boot the guest instead, type: %s", shellword.Line("rm", files.Path()))
	if libvirt.IsOtherHardware(err) {
		s.log.Warnf("to restore it with the hardware that it was saved with, if libvirt wrote the file, type: %s",
			shellword.Line("virsh", "-c", s.uri, "restore", files.Path()))
	}
	return err
}

// remove removes the files of a guest that runs, which would be wrong from now on. A guest that
// is paused may be one that a person is saving just now.
func (s *saver) remove(ctx context.Context, o observe.Observation) {
	if s.dir == "" || o.LibvirtErr != nil || o.Status.State == libvirt.Paused {
		return
	}
	ctx, cancel := timely.Within(ctx, timely.StorageTime)
	defer cancel()
	files := s.files()
	for _, file := range files.All() {
		err := timely.Do(ctx, func() error { return files.Remove(file) })
		switch {
		case err == nil:
			s.log.Infof("removed %s, as the guest runs", file)
		case !errors.Is(err, fs.ErrNotExist) && !safefile.NotOurs(err):
			s.log.WithError(err).Errorf("the guest runs, and its saved state could not be removed: type %s",
				shellword.Line("rm", file))
		}
	}
}

// recorder writes records of guests that left the node, or came to it, otherwise than by a migration.
type recorder struct {
	keep  func(record.Record) // nil where nobody does
	guest *observe.Identity   // as the action knows it by now
	uri   string              // the hypervisor's
	node  string
}

// ended writes the record of a stop that took the guest off its node; size is that of a saved state, in bytes.
func (r recorder) ended(began time.Time, why notes.Failure, rungs []record.RungTime, size uint64) {
	rec := r.record(began)
	rec.To, rec.Outcome, rec.Rungs, rec.Error, rec.Transferred = why.Peer, record.Ended, rungs, why.Why, size
	rec.Rung = rungs[len(rungs)-1].Rung
	r.keep(rec)
}

// restored writes the record of a guest that was brought back from file.
func (r recorder) restored(file string, began time.Time) {
	if r.keep == nil {
		return
	}
	rec := r.record(began)
	rec.From, rec.To, rec.Outcome, rec.Rung = file, r.node, record.Restored, ladder.Save
	rec.Steps = []record.Step{{Name: "restore", Begin: began, MS: rec.DurationMS}}
	ctx, cancel := context.WithTimeout(context.Background(), tidyTime)
	defer cancel()
	if info, err := timely.Get(ctx, func() (fs.FileInfo, error) { return os.Stat(file) }); err == nil {
		rec.Notes = []string{"the guest was saved until " + info.ModTime().UTC().Format(time.RFC3339)}
	}
	r.keep(rec)
}

// promoted writes the record of a guest that was started from the replica of its disks; lost is nil for another.
func (r recorder) promoted(nodes []string, lost *mirror.Decision, began time.Time) {
	if r.keep == nil || lost == nil {
		return
	}
	rec := r.record(began)
	rec.From, rec.To, rec.Outcome = "a replica of "+strings.Join(nodes, ", "), r.node, record.Restored
	if rec.Notes = []string{"lost " + lost.Lost()}; lost.Loss >= 0 {
		rec.LostMS = new(float64(lost.Loss.Milliseconds()))
	}
	r.keep(rec)
}

func (r recorder) record(began time.Time) record.Record {
	now := time.Now()
	return record.Record{
		Schema: record.Schema, Guest: r.guest.Name, UUID: r.guest.UUID, From: r.uri,
		Started: began, Ended: now, DurationMS: float64(now.Sub(began).Microseconds()) / 1000, Steps: []record.Step{},
	}
}
