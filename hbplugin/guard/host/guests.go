package host

import (
	"context"
	"errors"
	"slices"

	"github.com/vmferry/vmferry/resource/hostproc"
	"github.com/vmferry/vmferry/resource/notes"
)

// systemURI is looked at in any case: a guest may have begun to run before there is a note of where.
const systemURI = "qemu:///system"

// Guests lists what runs guests of the cluster, and what works beside them: those of resources that the agent has
// ever noted on this node, since the boot, which it does before a guest starts or arrives. One that is being received
// from a peer counts. Other guests, and other programs, are never in the list. With an error some may be missing.
// list is local.ListAll.
func Guests(store notes.Store, list func(ctx context.Context, uris ...string) ([]hostproc.Process, error),
) func(ctx context.Context) ([]hostproc.Process, error) {
	return func(ctx context.Context) ([]hostproc.Process, error) {
		identities, identitiesErr := store.Identities.All()
		guests, guestsErr := store.Guests.All()
		unread := errors.Join(identitiesErr, guestsErr) // the guests of the other notes are to be killed all the same
		uris := []string{systemURI}
		for _, g := range guests {
			if !slices.Contains(uris, g.URI) {
				uris = append(uris, g.URI)
			}
		}
		for _, i := range identities {
			guests = append(guests, notes.Guest{Guest: i.Name, UUID: i.UUID})
		}
		if len(guests) == 0 {
			return nil, unread
		}
		all, err := list(ctx, uris...)
		return slices.DeleteFunc(all, func(p hostproc.Process) bool {
			return !slices.ContainsFunc(guests, func(g notes.Guest) bool { return g.IsRunBy(p) })
		}), errors.Join(unread, err)
	}
}
