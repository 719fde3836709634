package main

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

	"github.com/vmferry/vmferry/resource/witness"
)

// entry is a guest that vmferry's agent has noted to be on this node: one file
// NAME.json in the guests directory.
type entry struct {
	Guest    string `json:"guest"`
	UUID     string `json:"uuid"`
	Resource string `json:"resource"` // the cluster manager's name of it
	URI      string `json:"uri"`      // of the libvirt that runs it
}

// name is what the cluster manager calls the guest, so that both their words
// about it meet.
func (e entry) name() string {
	if e.Resource != "" {
		return e.Resource
	}
	return e.Guest
}

// witnesses tells the guests whose QEMU process lives on this node: it
// implements shutdown.Guests. The agent says whose process to look for, and the
// process itself says whether the guest is here; a return code is not asked. A
// process that only receives a migration counts: its guest may be about to run.
// Guests of other hypervisors have no such process, and are the manager's to
// report.
type witnesses struct {
	dir  string       // of the agent's notes; that it is missing means no guest
	host witness.Host // where processes are looked for
}

// Here implements shutdown.Guests. A note or a process that cannot be read is
// an error: a guest may hide there.
func (w witnesses) Here(ctx context.Context) ([]string, error) {
	entries, err := readEntries(w.dir)
	if err != nil || len(entries) == 0 {
		return nil, err
	}
	alive, err := w.host.List(ctx)
	if err != nil {
		return nil, err
	}
	var here []string
	for _, e := range entries {
		if slices.ContainsFunc(alive, e.isIn) {
			here = append(here, e.name())
		}
	}
	return here, nil
}

// isIn says whether the process runs the guest.
func (e entry) isIn(p witness.Process) bool {
	return strings.EqualFold(p.UUID, e.UUID) || p.UUID == "" && p.Name == e.Guest
}

func readEntries(dir string) ([]entry, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, fmt.Errorf("list the agent's notes in %q: %w", dir, err)
	}
	var entries []entry
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the agent's note: %w", err)
		}
		var e entry
		if err := json.Unmarshal(text, &e); err != nil {
			return nil, fmt.Errorf("read the agent's note %q: %w", path, err)
		}
		if e.UUID == "" {
			return nil, fmt.Errorf("read the agent's note %q: it has no uuid", path)
		}
		entries = append(entries, e)
	}
	return entries, nil
}
