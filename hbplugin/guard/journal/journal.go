package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/vmferry/vmferry/migrate/atomicfile"
	"github.com/vmferry/vmferry/migrate/history"
	"github.com/vmferry/vmferry/migrate/safefile"
)

// File is the name of the file in a node's state directory.
const File = "guard.jsonl"

// Schema is the version of a line.
const Schema = 1

// maxSize is the size in bytes from which on the older half of the file is dropped: some thousand events are left.
const maxSize = 1 << 20

// Kind is what happened.
type Kind string

// The kinds.
const (
	Fenced      Kind = "fenced"     // a fence call was answered with a proof
	NotFenced   Kind = "not fenced" // a fence call was answered without one
	Killed      Kind = "kill"       // the guests of this node were killed, and are proven gone
	Surrendered Kind = "surrender"  // that is on the lease device; the guests were moved or killed
	Resumed     Kind = "resume"     // a guard took over the lease of the one before it; the guests go on
	Confirmed   Kind = "confirm"    // the administrator has said that a node is off
	Returned    Kind = "return"     // the lease was taken in a new generation
)

// Event is one line.
type Event struct {
	Schema int       `json:"schema"`
	Time   time.Time `json:"time"` // its end
	Node   string    `json:"node"` // this one
	Kind   Kind      `json:"event"`
	// the node that was to be fenced, that is off, or that the guests were moved to
	Target string `json:"target,omitempty"`
	// of the lease of the node that was to be fenced or is off, else of this node
	Generation uint64 `json:"generation"`
	Guests     int    `json:"guests"` // on this node when it began; of a kill those that were left
	Evidence   string `json:"evidence"`
	DurationMS int64  `json:"duration_ms"` // from the fence call, the decision or the begin of the kill to Time
}

// Append adds an event to the file at path, making it when needed, and returns when it is on the disk. Several
// processes may append at once. A process that is killed meanwhile leaves the earlier lines whole. It can hang with the
// disk.
func Append(path string, e Event) error {
	e.Schema = Schema
	line, err := json.Marshal(e)
	if err == nil {
		err = appendLine(path, line)
	}
	if err != nil {
		return fmt.Errorf("record of the guard: append to %q: %w", path, err)
	}
	return nil
}

func appendLine(path string, line []byte) error {
	unlock, err := atomicfile.Lock(path)
	if err != nil {
		return err
	}
	defer unlock()
	if err := shorten(path); err != nil {
		return err
	}
	return history.AppendLine(path, line)
}

// shorten drops the older half of a file that is too large.
func shorten(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() < maxSize {
		return nil
	}
	if err != nil {
		return err
	}
	text, err := safefile.Read(path, 2*maxSize, safefile.Only())
	if err != nil {
		return err
	}
	_, rest, _ := bytes.Cut(text[len(text)/2:], []byte{'\n'})
	return atomicfile.Bytes(path, rest, 0o644)
}

// Read is the newest n events of the file at path, the oldest of them first. Lines that are no events are skipped; a
// file that does not exist has none.
func Read(path string, n int) ([]Event, error) {
	text, err := safefile.Read(path, 2*maxSize, safefile.Anyone)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("records of the guard: read %q: %w", path, err)
	}
	var all []Event
	for line := range bytes.Lines(text) {
		var e Event
		if json.Unmarshal(line, &e) == nil && e.Schema > 0 {
			all = append(all, e)
		}
	}
	return all[max(0, len(all)-n):], nil
}
