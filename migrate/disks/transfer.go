package disks

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/atomicfile"
	"github.com/vmferry/vmferry/migrate/safefile"
)

// Transfer is one image that a move copies from this node. While it is open nobody else
// changes its note; the kernel ends that with the process. It is not for use by several goroutines.
type Transfer struct {
	image string
	note  Note
	file  *os.File // the image
	lock  *os.File
}

// Begin notes, on the disk when it returns, that the image begins to be copied. A note
// that an earlier move left behind is overwritten: the guest runs here. The error is [ErrBusy] where
// another process has begun and not ended.
func Begin(image string, n Note) (*Transfer, error) {
	t, err := open(image)
	if err != nil {
		return nil, err
	}
	t.note = n
	if err := errors.Join(keepOld(image), t.reach(Copying)); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// keepOld gives an old image a free name that no move of this package is known to have put aside, such as one that the
// mirror has kept: it may have writes that nobody else has, and [Transfer.Moved] would replace it.
func keepOld(image string) error {
	n, err := ReadNote(image)
	if err == nil && n.Stage == Moved {
		return nil
	}
	there, err := isBeside(image, OldSuffix)
	if errors.Is(err, unix.ENAMETOOLONG) {
		return nil // there is none
	}
	for i := 1; err == nil && there; i++ {
		free := fmt.Sprintf("%s%s-%d", image, OldSuffix, i)
		if _, taken := os.Lstat(free); !errors.Is(taken, fs.ErrNotExist) {
			continue
		}
		return os.Rename(image+OldSuffix, free)
	}
	return err
}

// Adopt takes over what another process began, and that has died since. ok is false where no move of this image
// began, or where it is known how it ended.
func Adopt(image string) (t *Transfer, ok bool, err error) {
	n, err := ReadNote(image)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && (n.Stage == Moved || n.Stage == LeftOver):
		return nil, false, nil
	case err != nil:
		return nil, false, err
	}
	t, err = open(image)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil // it was put aside already
	}
	if err != nil {
		return nil, false, err
	}
	t.note = n
	return t, true, nil
}

func open(image string) (*Transfer, error) {
	f, err := safefile.Open(image, safefile.Anyone)
	if err != nil {
		return nil, fmt.Errorf("open image %q: %w", image, err)
	}
	lock, err := lockOf(f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock image %q: %w", image, err), f.Close())
	}
	return &Transfer{image: image, file: f, lock: lock}, nil
}

func (t *Transfer) reach(s Stage) error {
	t.note.Stage, t.note.Since = s, time.Now()
	return writeNote(t.image, t.note)
}

// HandOver notes that the target's image is whole, and that the guest may run there from now on.
func (t *Transfer) HandOver() error {
	if t.note.Stage == HandingOver {
		return nil
	}
	return t.reach(HandingOver)
}

// Note is what is noted at present.
func (t *Transfer) Note() Note { return t.note }

// MadeImage notes whether the target's image is one that this move made, and may therefore remove.
func (t *Transfer) MadeImage(made bool) error {
	t.note.Made = made
	return writeNote(t.image, t.note)
}

// Moved notes that the guest runs at the target. The image is renamed, in place of an older one that
// was put aside by an earlier move. It ends what [Begin] began. An image that another host may use under
// the same name, since it is not the file that Begin locked or lies on a file system of the network, stays where it
// is: that is an error.
func (t *Transfer) Moved() error {
	if err := t.renameable(); err != nil {
		return errors.Join(fmt.Errorf("put the old image aside: %w", err), t.Close())
	}
	err := t.HandOver() // should the renaming fail, the note must not say that the image here is current
	if err == nil {
		err = safefile.ClearWay(t.image+OldSuffix, safefile.Anyone)
	}
	if err == nil {
		err = os.Rename(t.image, t.image+OldSuffix)
	}
	if err == nil {
		err = atomicfile.SyncDir(filepath.Dir(t.image))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("put the old image aside: %w", err), t.Close())
	}
	return errors.Join(t.reach(Moved), t.Close())
}

func (t *Transfer) renameable() error {
	kind, err := SharedBy(t.image)
	if err != nil {
		return err
	}
	begun, err := t.file.Stat()
	if err != nil {
		return err
	}
	now, err := os.Stat(t.image)
	if err != nil {
		return err
	}
	return mayRename(t.image, kind, os.SameFile(begun, now))
}

// mayRename is the rule: kind is what SharedBy says of the image, same that it is still the file that was locked.
func mayRename(image, kind string, same bool) error {
	switch {
	case kind != "":
		return fmt.Errorf("image %q lies on %s, where the guest may use it from another node", image, kind)
	case !same:
		return fmt.Errorf("image %q is another file than the one that was copied", image)
	}
	return nil
}

// Stayed notes that the guest is here and continues being, and that nothing is left of the move. It ends
// what [Begin] began.
func (t *Transfer) Stayed() error {
	return errors.Join(removeBeside(t.image, NoteSuffix), t.Close())
}

// StayedWithCopy is Stayed where the target may still have an incomplete copy: the note keeps saying how the next
// move to it recognizes that copy. It ends what [Begin] began.
func (t *Transfer) StayedWithCopy() error {
	if t.note.Mark == 0 {
		return t.Stayed()
	}
	return errors.Join(t.reach(LeftOver), t.Close())
}

// Close ends it without knowing how the move ended: the note stays as it is.
func (t *Transfer) Close() error { return errors.Join(t.lock.Close(), t.file.Close()) }
