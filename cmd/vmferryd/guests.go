package main

import (
	"context"

	"github.com/vmferry/vmferry/resource/hostproc"
	"github.com/vmferry/vmferry/resource/notes"
)

// witnesses tells the guests that are on this node, as [notes.Present] does: it implements
// shutdown.Guests.
type witnesses struct {
	dir string // of the agent's notes; that it is missing means no guest
	// list looks for what runs guests of these libvirts; normally local.List.
	list func(ctx context.Context, uris ...string) ([]hostproc.Process, error)
}

// Here implements shutdown.Guests.
func (w witnesses) Here(ctx context.Context) ([]string, error) {
	return notes.Present(ctx, w.dir, w.list)
}
