package main

import (
	"context"
	"slices"
	"strings"

	"github.com/vmferry/vmferry/resource"
	"github.com/vmferry/vmferry/resource/witness"
)

// witnesses tells the guests whose QEMU process, or domain of Xen's, lives on this node: it
// implements shutdown.Guests. The agent says whose process to look for, and the
// process itself says whether the guest is here; a return code is not asked. A
// process that only receives a migration counts: its guest may be about to run.
type witnesses struct {
	dir string // of the agent's notes; that it is missing means no guest
	// list looks for what runs guests of these libvirts; normally local.List.
	list func(ctx context.Context, uris ...string) ([]witness.Process, error)
}

// Here implements shutdown.Guests. A note or a process that cannot be read is
// an error: a guest may hide there.
func (w witnesses) Here(ctx context.Context) ([]string, error) {
	entries, err := resource.Guests(w.dir)
	if err != nil || len(entries) == 0 {
		return nil, err
	}
	alive, err := w.list(ctx, resource.URIs(entries)...)
	if err != nil {
		return nil, err
	}
	var here []string
	for _, e := range entries {
		runs := func(p witness.Process) bool { return isIn(e, p) }
		if slices.ContainsFunc(alive, runs) {
			here = append(here, e.Resource)
		}
	}
	return here, nil
}

// isIn says whether the process is the guest's: by UUID where both have one,
// else by name.
func isIn(e resource.Entry, p witness.Process) bool {
	if e.UUID != "" && p.UUID != "" {
		return strings.EqualFold(p.UUID, e.UUID)
	}
	return p.Name == e.Guest
}
