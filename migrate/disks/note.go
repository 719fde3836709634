package disks

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"time"

	"github.com/vmferry/vmferry/migrate/atomicfile"
	"github.com/vmferry/vmferry/migrate/safefile"
	"github.com/vmferry/vmferry/migrate/shellword"
)

// Stage is how far a move has come, as far as the disks are concerned.
type Stage string

// The stages.
const (
	Copying     Stage = "copying"      // the target's image is not complete: the one here is current
	HandingOver Stage = "handing over" // it is complete, and the guest may run there
	Moved       Stage = "moved"        // it is the current one
	LeftOver    Stage = "left over"    // the guest is here, and the target still has an incomplete copy
)

// Note is what the node that a guest moves away from keeps beside each image.
type Note struct {
	Stage Stage     `json:"stage"`
	Guest string    `json:"guest"`
	UUID  string    `json:"uuid,omitempty"`
	Peer  string    `json:"peer"` // the node that it moves to
	Since time.Time `json:"since"`
	// Mark is how many bytes long the mark at the peer is, a number that no other move has chosen; 0 before there was
	// such a number. Made says that the image at the peer was made by this move, behind that mark.
	Mark uint64 `json:"mark,omitempty"`
	Made bool   `json:"made,omitempty"`
}

// NewMark is a number for [Note].Mark, which a file of that many bytes can be made of on any file system.
func NewMark() uint64 { return 1 + rand.Uint64N(1<<31-1) }

// ParseNote reads what the file of a note holds.
func ParseNote(raw []byte) (n Note, err error) {
	if err := json.Unmarshal(raw, &n); err != nil {
		return Note{}, fmt.Errorf("parse the note beside an image: %w", err)
	}
	return n, nil
}

// noteLimit is far above any note, in bytes.
const noteLimit = 64 << 10

// ReadNote reads the note beside an image. One that is not there is fs.ErrNotExist, and so is what no move can have put
// there: something else than a file, or a file of a user who is not to have made it.
func ReadNote(image string) (Note, error) {
	path := image + NoteSuffix
	raw, err := safefile.Read(path, noteLimit, makers(image))
	n := Note{}
	if err == nil {
		n, err = ParseNote(raw)
	}
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, fs.ErrNotExist):
	case safefile.NotOurs(err):
		err = fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	default:
		err = fmt.Errorf("%w; it is not known whether the guest moved to another node: look for it there, "+
			"and if it runs on none, type: %s", err, shellword.Line("rm", path))
	}
	return Note{}, fmt.Errorf("read the note beside image %q: %w", image, err)
}

func writeNote(image string, n Note) error {
	raw, err := json.Marshal(n)
	if err == nil {
		err = safefile.ClearWay(image+NoteSuffix, makers(image))
	}
	if err == nil {
		err = atomicfile.Bytes(image+NoteSuffix, append(raw, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("write the note beside image %q: %w", image, err)
	}
	return nil
}
