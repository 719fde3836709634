package resource

import (
	"context"
	"slices"
	"time"

	"github.com/vmferry/vmferry/migrate/announce"
	"github.com/vmferry/vmferry/resource/hostproc"
	"github.com/vmferry/vmferry/resource/notes"
)

// announceTime bounds the announcement that an action makes by itself.
const announceTime = 3 * time.Second

// expecting are the actions after which a guest may come.
var expecting = []string{"start", "monitor", "status", "migrate_from", "reload-agent"}

// expected is the note about this guest.
func (a *run) expected() notes.Expected {
	return notes.Expected{
		Guest: a.guest.Name, Resource: a.Instance, URI: a.Params.Hypervisor, Announce: a.Params.Announce, Suffix: a.Params.Suffix,
	}
}

// expect leaves the note. That it cannot be written fails nothing: the action that brings the guest
// announces it too.
func (a *run) expect() {
	if a.guess || !slices.Contains(expecting, a.action) {
		return
	}
	if err := a.notes.Expected.Save(a.Instance, a.expected()); err != nil {
		a.Log.WithError(err).Warn("the node daemon may not announce this guest: make the state directory writable")
	}
}

// isAnnounced reports whether the node daemon announced the guest after its processes had started: then it announces
// what runs now.
func (a *run) isAnnounced(processes []hostproc.Process) bool {
	note, err := a.notes.Announced.Load(a.Instance)
	return err == nil && note.Covers(processes)
}

// announce tells the network that the guest runs here, beside what is left of the action, unless the node daemon
// did so already. wait waits for the end of it.
func (a *run) announce(ctx context.Context, processes []hostproc.Process) (wait func()) {
	if a.Announce == nil || a.Params.Announce == announce.Off || a.isAnnounced(processes) {
		return func() {}
	}
	ctx, cancel := within(ctx, announceTime)
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.Announce(ctx, a.expected())
	}()
	return func() {
		<-done
		cancel()
	}
}
