package savedstate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/atomicfile"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/libvirt/saveimage"
	"github.com/vmferry/vmferry/migrate/safefile"
	"github.com/vmferry/vmferry/migrate/shellword"
	"github.com/vmferry/vmferry/resource/domainxml"
)

// What a saved state's file has at the end of its name. The plain name, as VirtualDomain has it, is that of one
// that may be restored. It is taken away before libvirt is asked to: a guest that ran from it,
// for however short, has disks that fit it no more.
const (
	saving    = ".saving"    // it is being written, by a libvirt that does not mark it so
	restoring = ".restoring" // a start has begun to restore the guest from it
	stale     = ".stale"     // it does not fit the guest's disks, or that is not known
)

// Files are the files of one guest's saved state. The methods touch storage, which may hang.
type Files struct {
	Dir    string // the parameter snapshot or save_dir
	Guest  string // its name
	Driver libvirt.Driver
	Survey func() (Place, error) // of Dir
	Log    logrus.FieldLogger
}

// Path is the file that may be restored.
func (f Files) Path() string { return filepath.Join(f.Dir, f.Guest+".state") }

// SavePath is the file that libvirt saves the guest to: a name by which the guest is not restored, where libvirt does
// not itself mark what is not whole.
func (f Files) SavePath() string {
	if f.Driver.SaveImages {
		return f.Path()
	}
	return f.Path() + saving
}

// Prepare makes sure that nobody else gets the guest's memory, and that nobody's file is overwritten with it.
func (f Files) Prepare() error {
	place, err := f.Survey()
	if err == nil {
		err = place.cannotRestore(f.Driver.SaveImages)
	}
	if err == nil {
		err = place.prepare(f.SavePath())
	}
	if err == nil && f.SavePath() != f.Path() {
		err = safefile.ClearWay(f.Path(), place.owners)
	}
	return err
}

// Finish gives the saved state the name by which it may be restored, once it is known to be whole. saved is
// what libvirt said.
func (f Files) Finish(saved error) error {
	file := f.SavePath()
	if err := checkWhole(file); err != nil {
		return err
	}
	if file == f.Path() {
		return nil
	}
	if saved != nil {
		return fmt.Errorf("%w, or it is unknown whether it is: %w", saveimage.ErrPartial, saved)
	}
	return rename(file, f.Path())
}

// Discard removes what libvirt has saved of a guest that continues; that there is nothing is no error.
func (f Files) Discard() error {
	err := os.Remove(f.SavePath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// State is a saved state that is to be restored.
type State struct {
	File string // no other start finds it
	Decision
}

// Claim takes the file that the guest can be restored from out of the reach of any other start, and returns nil where
// there is none, which may also be the error [fs.ErrNotExist]. One that is another guest's, or does not fit this one's
// disks, is set aside. What another user has put there is moved out of the way. Where ctx has ended, nobody waits for
// it any more. own is the guest's XML.
func (f Files) Claim(ctx context.Context, own string) (*State, error) {
	place, err := f.Survey()
	if err == nil {
		err = f.setAside(place, f.Path()+restoring, "a start that was interrupted may have run the guest from it")
	}
	if err != nil {
		return nil, err
	}
	file, err := safefile.Open(f.Path(), place.owners)
	switch err = place.foreign(err); {
	case safefile.NotOurs(err):
		f.Log.Warnf("a file in the place of the saved state is not libvirt's: "+
			"ignored, and the guest is booted: %s", err)
		// It may be libvirt's for another node or another label, where it must not be found when the guest's disks have
		// changed.
		return nil, safefile.ClearWay(f.Path(), place.owners)
	case err != nil:
		return nil, err
	}
	defer func() { _ = file.Close() }()
	o, err := f.observe(place, file, own)
	if err != nil {
		return nil, err
	}
	s := &State{File: f.Path() + restoring, Decision: Decide(o)}
	switch {
	case s.Course == Refuse:
		return nil, fmt.Errorf("%w; to boot the guest instead, type: %s", s.Err, shellword.Line("rm", f.Path()))
	case s.Course == Boot:
		return nil, f.setAside(place, f.Path(), s.Why)
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	if err := rename(f.Path(), s.File); err != nil {
		return nil, err
	}
	return s, checkSame(file, s.File)
}

// observe finds out what is to be known of a saved state that is libvirt's; own is the guest's XML.
func (f Files) observe(place Place, file *os.File, own string) (Observed, error) {
	image, info, why, err := readImage(file)
	o := Observed{
		Unusable: why, Saved: image.XML, Exposed: place.Exposed(),
		CanReplace: f.Driver.SaveImages,
	}
	if err != nil || why != "" {
		return o, err
	}
	o.Written, o.RootOnly = info.ModTime(), place.isRoots(info)
	if o.Unusable, o.Own, err = isOfGuest(image.XML, own); err != nil || o.Unusable != "" {
		return o, err
	}
	for _, path := range append(domainxml.HostResourcesOf(own).Disks, domainxml.HostResourcesOf(image.XML).Disks...) {
		if d, err := os.Stat(path); err == nil && d.Mode().IsRegular() {
			o.Disks = append(o.Disks, Disk{path, d.ModTime()})
		}
	}
	return o, nil
}

// Return gives a claimed file its name back, for another try, here or elsewhere.
func (f Files) Return(s *State) error { return rename(s.File, f.Path()) }

// setAside gives the file a name by which it is never restored; that there is no file is no error. Another user's
// stays.
func (f Files) setAside(place Place, file, why string) error {
	_, _, err := safefile.Look(file, place.owners)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	aside := f.Path() + stale
	switch {
	case safefile.NotOurs(err):
		return safefile.ClearWay(file, place.owners)
	case err == nil:
		err = safefile.ClearWay(aside, place.owners)
	}
	if err == nil {
		err = rename(file, aside)
	}
	if err != nil {
		return fmt.Errorf("set %q aside: %w", file, err)
	}
	f.Log.Warnf("saved state %s is not restored, but set aside as %s, and the guest is booted: %s", file, stale, why)
	return nil
}

// All are the files of which one may be left by a guest that runs, where it would be wrong.
func (f Files) All() []string { return []string{f.Path(), f.Path() + restoring, f.Path() + saving} }

// Remove removes one of them that may be libvirt's; another user's is an error of package safefile.
func (f Files) Remove(file string) error {
	if _, err := os.Lstat(file); err != nil { // most often there is none
		return err
	}
	place, err := f.Survey()
	if err == nil {
		_, _, err = safefile.Look(file, place.owners)
		err = place.foreign(err)
	}
	if err != nil {
		return err
	}
	return os.Remove(file)
}

// rename is durable when it returns nil.
func rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(to))
}

// readImage reads which guest's memory a file holds; why is a reason for which it can never be restored.
func readImage(f *os.File) (image saveimage.Image, size fs.FileInfo, why string, err error) {
	info, err := f.Stat()
	if err != nil {
		return image, nil, "", err
	}
	image, err = saveimage.Read(f)
	switch errno := unix.Errno(0); {
	case errors.As(err, &errno):
		return image, info, "", err
	case err == nil && info.Size() <= image.Size:
		err = saveimage.ErrPartial
	}
	if err != nil {
		return image, info, err.Error(), nil
	}
	return image, info, "", nil
}

// checkWhole returns an error for a file that libvirt has not written to its end.
func checkWhole(file string) error {
	f, err := safefile.Open(file, safefile.Anyone)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	_, _, why, err := readImage(f)
	if err == nil && why != "" {
		err = errors.New(why)
	}
	return err
}

// checkSame makes sure that a name is still that of an open file.
func checkSame(f *os.File, name string) error {
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
