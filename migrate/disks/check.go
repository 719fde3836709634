package disks

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// Stale is why a guest must not be started with an image. Its text says what is known, where the
// current copy is, and what to type where a person knows better.
type Stale struct {
	Image string
	Peer  string // where the current copy is or may be, "" where not known
	Why   string
	Hint  string
}

// Error is one line.
func (s *Stale) Error() string { return fmt.Sprintf("disk %q %s: %s", s.Image, s.Why, s.Hint) }

// Check returns nil when a guest may be started with the image, as far as moves are concerned, and
// else a [*Stale]. An image of which there is no trace may be used. What no move can have put beside it is ignored; see
// [Foreign].
func Check(image string) error {
	there, err := exists(image)
	if err != nil {
		return err
	}
	old, err := isBeside(image, OldSuffix)
	if err != nil {
		return err
	}
	arriving, err := isBeside(image, ArrivingSuffix)
	if err != nil {
		return err
	}
	n, err := ReadNote(image)
	noted := !errors.Is(err, fs.ErrNotExist)
	if err != nil && noted {
		return err
	}
	return judge(image, facts{there: there, old: old, arriving: arriving, noted: noted, note: n})
}

// facts are what lies beside an image.
type facts struct {
	there, old, arriving, noted bool

	note Note
}

// judge is the rule. An image that an operator has put back in its place is used, whatever the
// note says that there was.
func judge(image string, f facts) error {
	when := f.note.Since.Local().Format(time.DateTime)
	stale := func(peer, why, hint string, args ...any) error {
		return &Stale{image, peer, why, fmt.Sprintf(hint, args...)}
	}
	went := fmt.Sprintf("went with the guest to %s at %s", f.note.Peer, when)
	switch {
	case f.arriving:
		return stale("", "is a copy that was not finished, or not seen to be: its guest was on its way to this node "+
			"when the move failed", "start the guest on the node that it came from; if it is certain that it ran here "+
			"since, remove %s%s", image, ArrivingSuffix)
	case !f.there && !f.old && f.noted && f.note.Stage == Moved:
		return stale(f.note.Peer, went, "start the guest on %s", f.note.Peer)
	case !f.there && f.old && f.noted:
		return stale(f.note.Peer, went+", and what is left here is the old copy", "start the guest on %s; "+
			"to lose all that it wrote since, rename %s%s to %[2]s", f.note.Peer, image, OldSuffix)
	case !f.there && f.old:
		return stale("", "went with the guest to another node, and what is left here is the old copy",
			"start the guest there; to lose all that it wrote since, rename %s%s to %[1]s", image, OldSuffix)
	case f.there && f.noted && f.note.Stage == HandingOver:
		return stale(f.note.Peer, fmt.Sprintf("was being handed over to %s at %s when the move failed, and the guest "+
			"may have run there since", f.note.Peer, when), "start the guest on %s if it did; if it is certain that "+
			"it did not, remove %s%s", f.note.Peer, image, NoteSuffix)
	}
	return nil
}

func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at image: %w", err)
	}
	return true, nil
}

// Arrived removes the mark of an image whose guest is seen to run here: it is the current copy.
func Arrived(image string) error {
	if err := removeBeside(image, ArrivingSuffix); err != nil {
		return fmt.Errorf("unmark image %q: %w", image, err)
	}
	return nil
}

// Forget ends, in the note beside an image from which the guest was started here, a move that was begun before: that
// cannot take the image away any more. What it may have left at its target stays noted. A move that
// has begun since keeps its note.
func Forget(image string) error {
	l, ok, err := Adopt(image)
	if !ok || errors.Is(err, ErrBusy) {
		return nil
	}
	if err != nil {
		return err
	}
	return l.StayedWithCopy()
}

// Gone puts the image aside of a guest that is proven to run on another node, where a move of it
// had begun and whoever made it did not live to do that. Without such a move it does nothing.
func Gone(image string) error {
	l, ok, err := Adopt(image)
	if !ok || err != nil {
		return err
	}
	return l.Moved()
}
