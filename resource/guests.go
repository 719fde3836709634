package resource

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vmferry/vmferry/migrate/safefile"
	"github.com/vmferry/vmferry/resource/hostproc"
)

// DefaultGuestsDir is where the agent notes the guests that this node answers for.
const DefaultGuestsDir = DefaultRunDir + "/" + guestsDir

// Entry says that a guest was seen to run on this node as a resource. It is a
// note and no proof: a guest that crashed or was moved by hand since leaves it behind.
type Entry struct {
	Guest    string `json:"guest"`                    // libvirt's name
	UUID     string `json:"uuid"`                     // dashed, or empty where it was not known
	Resource string `json:"resource"`                 // the resource's id in the cluster manager
	URI      string `json:"uri"`                      // the libvirt that it runs under
	Priority int    `json:"drain_priority,omitempty"` // a higher one leaves the node first
}

// Guests reads the notes in dir, normally [DefaultGuestsDir], sorted by resource. No directory
// means no guests. Files that are no notes are left out: notes are renamed into place
// whole, so that garbage is not one of ours. A note that cannot be read is reported in the
// error, beside the entries that could.
func Guests(dir string) ([]Entry, error) {
	var entries []Entry
	err := readNotes(dir, func(raw []byte) {
		if e, ok := parseEntry(raw); ok {
			entries = append(entries, e)
		}
	})
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Resource, b.Resource) })
	return entries, err
}

// URIs are those of the libvirts that the guests run under, in the order of the entries. One that several guests
// have stands there as often.
func URIs(entries []Entry) []string {
	uris := make([]string, len(entries))
	for i, e := range entries {
		uris[i] = e.URI
	}
	return uris
}

// Present lists the resources that are noted in dir and whose guests' QEMU process, or domain of Xen's, lives on
// this node; list, normally local.List, looks for what runs guests of these libvirts. The agent says whose process
// to look for, and the process itself says whether the guest is here: no return code is asked. A process
// that only receives a migration counts, as its guest may be about to run. A note or a process that
// cannot be read is an error: a guest may hide there.
func Present(ctx context.Context, dir string, list func(ctx context.Context, uris ...string) ([]hostproc.Process, error)) ([]string, error) {
	entries, err := Guests(dir)
	if err != nil || len(entries) == 0 {
		return nil, err
	}
	alive, err := list(ctx, URIs(entries)...)
	if err != nil {
		return nil, err
	}
	var here []string
	for _, e := range entries {
		if slices.ContainsFunc(alive, e.isIn) {
			here = append(here, e.Resource)
		}
	}
	return here, nil
}

// isIn says whether the process is the guest's: by UUID where both have one, else by name.
func (e Entry) isIn(p hostproc.Process) bool {
	if e.UUID != "" && p.UUID != "" {
		return strings.EqualFold(p.UUID, e.UUID)
	}
	return p.Name == e.Guest
}

// readNotes calls each with the contents of every note in dir. One that cannot be read does not
// keep the others from being read.
func readNotes(dir string, each func(raw []byte)) error {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list guests: %w", err)
	}
	var problems []error
	for _, f := range files {
		if filepath.Ext(f.Name()) != ".json" || !f.Type().IsRegular() {
			continue
		}
		raw, err := safefile.Read(filepath.Join(dir, f.Name()), noteLimit, safefile.Only())
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !safefile.NotOurs(err) { // else released since the listing
			problems = append(problems, fmt.Errorf("read guest note: %w", err))
		}
		if err == nil {
			each(raw)
		}
	}
	return errors.Join(problems...)
}

func parseEntry(raw []byte) (e Entry, ok bool) {
	err := json.Unmarshal(raw, &e)
	return e, err == nil && e.Guest != "" && e.Resource != ""
}
