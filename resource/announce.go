package resource

import (
	"context"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/announce"
	"github.com/vmferry/vmferry/resource/hostproc"
	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/observe"
	"github.com/vmferry/vmferry/resource/timely"
)

// announceTime bounds the announcement that an action makes by itself.
const announceTime = 3 * time.Second

// expecting are the actions after which a guest may come.
var expecting = []string{"start", "monitor", "status", "migrate_from", "reload-agent"}

// announcer tells the network where the guest is, or has vmferryd do so.
type announcer struct {
	notes    notes.Store
	expected notes.Expected    // but for the guest's name
	guest    *observe.Identity // as the action knows it by now
	send     func(ctx context.Context, guest notes.Expected)
	log      logrus.FieldLogger
}

// note is the note about this guest.
func (n announcer) note() notes.Expected {
	e := n.expected
	e.Guest = n.guest.Name
	return e
}

// expect leaves the note. That it cannot be written fails nothing: the action that brings the guest
// announces it too.
func (n announcer) expect() {
	if err := n.notes.Expected.Save(n.expected.Resource, n.note()); err != nil {
		n.log.WithError(err).Warn("the node daemon may not announce this guest: make the state directory writable")
	}
}

// isAnnounced reports whether the node daemon announced the guest after its processes had started: then it announces
// what runs now.
func (n announcer) isAnnounced(processes []hostproc.Process) bool {
	note, err := n.notes.Announced.Load(n.expected.Resource)
	return err == nil && note.Covers(processes)
}

// announce tells the network that the guest runs here, beside what is left of the action, unless the node daemon
// did so already. wait waits for the end of it.
func (n announcer) announce(ctx context.Context, processes []hostproc.Process) (wait func()) {
	if n.send == nil || n.expected.Announce == announce.Off || n.isAnnounced(processes) {
		return func() {}
	}
	ctx, cancel := timely.Within(ctx, announceTime)
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.send(ctx, n.note())
	}()
	return func() {
		<-done
		cancel()
	}
}
