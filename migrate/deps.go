package migrate

import (
	"context"
	"net/netip"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/drain"
	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/events"
	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/slot"
)

// Deps is what Move needs from outside.
type Deps struct {
	// Open connects to the libvirt at a URI. It is called again when a connection breaks.
	Open func(ctx context.Context, uri string) (endpoint.Host, error)
	// Gone, when set, is asked while the source's libvirt does not respond: has the guest's hypervisor process on this
	// node ended? True must be proof. An error means that it is not known.
	Gone func(ctx context.Context, guest, uuid string) (bool, error)
	// Halted, when set, is asked where the source's libvirt reports a running guest, and its driver does not know that
	// by itself: is the guest paused there, for a switchover that is under way or has failed? An error means that it is
	// not known, and libvirt's state counts.
	Halted func(ctx context.Context, guest, uuid string) (bool, error)
	// Wake, when set, resumes a guest at the source that Halted reported.
	Wake func(ctx context.Context, guest, uuid string) error
	// Abort, when set, aborts the migration under way at the source where libvirt's driver cannot; it does not wait for
	// the end. An error means that nothing was aborted.
	Abort func(ctx context.Context, guest, uuid string) error
	// Slots bounds the migrations at once. The zero value is the default directory with one slot.
	Slots slot.Pool
	// Queue, when not nil, gives moves their turns, before they take a slot.
	Queue Queue
	// Relay, when not nil, makes the relay of a guest that runs on this node, from its XML. It is called just before
	// the migration begins, where the hypervisor reports when the guest is paused.
	Relay func(guest, domainXML string) (Relay, error)
	// Resolve looks up a host's addresses as this node does; nil is the system's own resolver.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	// Own lists this node's addresses; nil asks the system.
	Own func() []netip.Addr
	// Conf is the qemu.conf that says where this node's certificates are; empty is libvirt's own.
	Conf string
	// Links is the file in which history.LearnLink remembers the links to the peers; empty where nothing does.
	Links string
	// Guests is the file in which history.LearnGuest remembers the guests; empty where nothing does.
	Guests string
	// Log gets what happens, with the fields guest, peer and phase.
	Log logrus.FieldLogger
}

// Relay keeps what reaches a guest at its source while it is stopped, and forwards it to the target. It belongs
// to one attempt to migrate. *relay.Relay is one.
type Relay interface {
	events.Relay
	// Close ends it and returns how many frames were forwarded. Before that it waits, until ctx ends, for those that
	// are still to be. The error says why not all were, or could not be.
	Close(ctx context.Context) (passed int, err error)
}

// AdmissionRequest is what a queue of moves learns of a guest that is to move.
type AdmissionRequest struct {
	Guest, UUID, Target string

	Load drain.Load
	// Measured waits until the dirty rate was measured, and gives the load again; not ok where there is
	// nothing new. It may be called from another goroutine, until the queue has answered.
	Measured func(ctx context.Context) (_ drain.Load, ok bool)

	Rate     float64       // bytes per second that the link to the target carries, 0 where that is not known
	Most     float64       // bytes per second that this move may take of it, 0 for all
	SetUp    time.Duration // of a migration, what is neither copying nor pause
	Rungs    []ladder.Rung // that the engine may take, from the gentlest on
	Deadline time.Time     // when the caller's time is up, zero without one
}

// Admission is what a queue of moves has granted. Its methods may be called from any goroutine.
type Admission interface {
	// AtOnce is how many moves may be under way, this one counted.
	AtOnce() int
	// Deadline is when the node must be empty, zero without one.
	Deadline() time.Time
	// GiveUp is closed when the move should be aborted, as this is the last moment for something else.
	GiveUp() <-chan struct{}
	// Update says what was learnt of the guest's load since.
	Update(l drain.Load)
	// Copied reports that the guest has left, and the next one may begin. pause is for how long it was stopped, 0
	// where that is not known.
	Copied(pause time.Duration)
	// Release gives it back. It may be called again.
	Release()
}

// Queue waits until a guest is admitted among all that want to leave the node. The context bounds the wait
// and not the admission. waiting is called at most once, when others come first.
//
// A [drain.TooLate] is the error when the guest must not move. Any other means that there is no queue, or
// none any more, and the move continues without.
type Queue func(ctx context.Context, r AdmissionRequest, waiting func()) (Admission, error)
