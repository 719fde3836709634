package migrate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/convergence"
	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/events"
	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/predict"
	"github.com/vmferry/vmferry/migrate/preflight"
	"github.com/vmferry/vmferry/migrate/slot"
)

// Request says which guest to move where. The deadline is the context's.
type Request struct {
	Guest     string // the domain's name
	UUID      string // optional: what the caller knows, to distinguish the guest from another of its name
	SourceURI string // the source's libvirt, as seen from here, such as "qemu:///system"
	Target    string // the target node's name, for people and for the record
	TargetURI string // the target's libvirt, as both we and the source's libvirtd reach it

	MigrateURI    string               // optional: the hypervisor's data channel, such as "tcp://10.0.0.2"
	Bandwidth     uint64               // MiB/s, 0 for libvirt's default
	DowntimeLimit time.Duration        // the longest pause at any time; 0 for no such bound
	NoConverge    bool                 // do not slow down a guest that writes faster than the link carries
	Unsafe        bool                 // move even where libvirt fears for disks with a host cache
	Memory        preflight.MemoryMode // what follows where the target is short of memory for the guest
	// BlackoutBudget is what the blackout is to stay within, convergence.DefaultBudget when 0. Near the deadline a
	// guest that does not converge is paused for longer all the same, unless Firm. The record says
	// whether the budget was kept.
	BlackoutBudget time.Duration
	Firm           bool // rather leave the guest where it is than exceed the budget
	// PauseAfter is how long after its begin a migration may make the pause as long as
	// the last copy needs; 0 leaves that to the deadline alone. Firm and DowntimeLimit go before it.
	PauseAfter time.Duration
	// PostCopy lets the engine switch a guest that does not converge to post-copy: it continues at the target
	// at once, but is lost if one of the two nodes dies before the rest of its memory is there.
	PostCopy bool
	Options  libvirt.MigrateOptions
	// StartsNetworks says that the caller starts networks of the target that are not active.
	StartsNetworks bool

	Disks preflight.DiskMode // what is done with disks that are not on shared storage
	Fetch bool               // the source is another node, so that nothing can be done with its files
	Adopt bool               // a migration to this target was begun by a caller that died: one under way is waited for

	// Rest is for how long after the guest's RESUME at the target nothing is done that can wait, normally RestTime, 0
	// for no time. A move whose time is short does not rest.
	Rest time.Duration
	// Others, when not nil, reports whether other guests of this node wait for the end of this move now: then it is
	// copied as fast as the link carries it, though its pause may be longer for that, and does not rest. It should
	// return soon.
	Others func() bool

	// Shorten, when not nil, brings a deadline that is earlier than the context's. It is applied while
	// the guest is being copied: give the channel room for one.
	Shorten <-chan time.Time

	// Progress, when not nil, is called at each step and about twice a second in between,
	// from Move's own goroutine. It should return soon.
	Progress func(Progress)
}

// awaited reports whether other guests wait for the end of this move.
func (r Request) awaited() bool { return r.Others != nil && r.Others() }

// budget is what the blackout is to stay within.
func (r Request) budget() time.Duration { return cmp.Or(r.BlackoutBudget, convergence.DefaultBudget) }

func (r Request) check() error {
	for _, f := range []struct{ name, value string }{
		{"guest", r.Guest}, {"source URI", r.SourceURI}, {"target", r.Target}, {"target URI", r.TargetURI},
	} {
		if f.value == "" {
			return refuse(preflight.CheckRequest, "no "+f.name+" was given", "", nil)
		}
	}
	switch {
	case r.Disks != "" && !slices.Contains(preflight.DiskModes, r.Disks):
		return refuse(preflight.CheckRequest, fmt.Sprintf("the mode %q for disks is unknown", r.Disks),
			"use shared, copy or auto", nil)
	case r.Memory != "" && !slices.Contains(preflight.MemoryModes, r.Memory):
		return refuse(preflight.CheckRequest, fmt.Sprintf("the mode %q for memory is unknown", r.Memory),
			"use warn, refuse or no", nil)
	case r.Options.TLS && r.Options.Tunnelled:
		// libvirtd 11.3 crashes: there is no host name for qemuMigrationSrcRun to take from a tunnel.
		return refuse(preflight.CheckRequest, "TLS and a tunnelled migration are both requested",
			"request one of them", nil)
	case r.DowntimeLimit < 0 || r.BlackoutBudget < 0 || r.PauseAfter < 0:
		return refuse(preflight.CheckRequest, "a limit is negative", "", nil)
	}
	return nil
}

// Progress is how far a move is.
type Progress struct {
	// Phase is PhaseSlot, "pre-flight", PhaseDisks, "migrating", "post-copy", "aborting", "recovering" or "verifying".
	Phase         string
	Transferred   uint64        // bytes sent, pages sent again counted again
	Total         uint64        // bytes of guest memory
	Remaining     uint64        // bytes still to send
	RateMiBs      float64       // on the wire
	Iteration     int           // passes over the memory, 1 is the first
	Throttle      int           // per cent that auto-converge takes from the guest
	DowntimeLimit time.Duration // at present
	DiskTotal     uint64        // bytes of disks that go along, while they are copied
	DiskRemaining uint64        // of these, still to copy
	Elapsed       time.Duration // since the migration began; all that is known where the driver reports no more
}

// BudgetHeld is nil where the libvirt at a source's URI has what it takes to keep a blackout within a budget. Else
// it says why not, as an [*libvirt.Unsupported]: the move is as good as the hypervisor makes it.
func BudgetHeld(sourceURI string) error {
	return libvirt.DriverOf(sourceURI).Lacks(libvirt.CanBoundPause)
}

// applyCapabilities takes out of a request what the source's driver cannot do: without is why, one for each. What a
// move is no use without, or would be dangerous, is a refusal.
func applyCapabilities(r Request, d libvirt.Driver) (_ Request, without []error, err error) {
	o := &r.Options
	for _, need := range []struct {
		requested bool
		what      libvirt.Ability
		hint      string
	}{
		{r.Firm, libvirt.CanBoundPause, "allow the move to exceed the blackout budget"},
		{o.TLS, libvirt.CanEncrypt, "leave migration_tls, or --tls, out; migrate_options=--tunnelled sends the " +
			"memory through libvirt's own connection, which migration_transport=ssh or tls encrypts"},
		{o.CopyAll || o.CopyInc || r.Disks == preflight.DisksCopy, libvirt.CanCopyDisks,
			"put the guest's disks on storage that both nodes share"},
	} {
		if err := d.Lacks(need.what); need.requested && err != nil {
			return r, nil, refuse(preflight.CheckRequest, "an option of the request cannot be used", need.hint, err)
		}
	}
	tuned := o.Compressed || o.Parallel || o.ZeroCopy || o.Connections > 0 || o.Compression != ""
	for _, wish := range []struct {
		requested bool
		what      libvirt.Ability
		drop      func()
	}{
		{r.PostCopy || o.PostCopy, libvirt.CanPostCopy, func() { r.PostCopy, o.PostCopy = false, false }},
		{r.Bandwidth > 0, libvirt.CanBoundSpeed, func() { r.Bandwidth = 0 }},
		{r.DowntimeLimit > 0, libvirt.CanBoundPause, func() { r.DowntimeLimit = 0 }},
		{r.Disks == preflight.DisksAuto, libvirt.CanCopyDisks, func() { r.Disks = preflight.DisksShared }},
		{tuned, libvirt.CanTune, func() {
			o.Compressed, o.Parallel, o.ZeroCopy = false, false, false
			o.Connections, o.Compression, o.XBZRLECache = 0, "", 0
		}},
	} {
		if err := d.Lacks(wish.what); wish.requested && err != nil {
			wish.drop()
			without = append(without, err)
		}
	}
	r.Unsafe = r.Unsafe && d.JobControl // else it fears for no disk
	r.NoConverge = r.NoConverge || !d.JobControl
	return r, without, nil
}

// preflight is the request as the pre-flight takes it.
func (r Request) preflight(uuid string, all bool) preflight.Request {
	return preflight.Request{
		Guest: r.Guest, UUID: uuid, SourceURI: r.SourceURI, Target: r.Target, TargetURI: r.TargetURI,
		MigrateURI: r.MigrateURI, Bandwidth: r.Bandwidth, Unsafe: r.Unsafe, Memory: r.Memory, Disks: r.Disks,
		Options: r.Options, StartsNetworks: r.StartsNetworks, Fetch: r.Fetch, Adopt: r.Adopt, All: all,
	}
}

// refuse is why a move is not begun.
func refuse(check, reason, hint string, err error) *preflight.Refusal {
	return &preflight.Refusal{Check: check, Reason: reason, Hint: hint, Err: err}
}

var (
	// ErrUnknown is in the error of a Move that cannot tell where the guest runs.
	ErrUnknown = errors.New("cannot tell where the guest runs")
	// ErrOutOfTime is in the error of a Move that aborted its migration to meet the deadline.
	ErrOutOfTime = errors.New("the migration timed out")
	// ErrHopeless is in the error of a Move that gave up early, as its time is better spent on
	// another way to get the guest off this node.
	ErrHopeless = errors.New("the migration cannot succeed")
	// ErrTargetSilent is in the error of a Move that gave up since its target gave no answer any more.
	ErrTargetSilent = errors.New("the target does not respond")
)

// ofTarget are the checks that another target may pass.
var ofTarget = []string{preflight.CheckTarget, preflight.CheckSameHost, preflight.CheckDuplicate,
	preflight.CheckHypervisor, preflight.CheckMemory, preflight.CheckCPU, preflight.CheckDisk, preflight.CheckDiskMove,
	preflight.CheckNetwork, preflight.CheckFirmware, preflight.CheckAddress, preflight.CheckConnection}

// MayTryNext reports whether a move to another target makes sense after one that failed with err: the guest
// stayed, and it was the target, or the way there, that refused it, died, or was too slow. It
// does not where it is not known where the guest runs, where the source is what refused it, and where
// the time was up or the caller cancelled.
func MayTryNext(err error) bool {
	var r *preflight.Refusal
	switch {
	case err == nil || errors.Is(err, ErrUnknown):
		return false
	case errors.As(err, &r):
		return slices.Contains(ofTarget, r.Check)
	}
	over := errors.Is(err, ErrOutOfTime) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
	return !over
}

// errGaveUp is why a move that was admitted was not begun all the same.
var errGaveUp = errors.New("the migration queue revoked the admission: no time left for the move")

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

	Load predict.Load
	// Measured waits until the dirty rate was measured, and gives the load again; not ok where there is
	// nothing new. It may be called from another goroutine, until the queue has answered.
	Measured func(ctx context.Context) (_ predict.Load, ok bool)

	Rate     float64       // bytes per second that the link to the target carries, 0 where that is not known
	Most     float64       // bytes per second that this move may take of it, 0 for all
	SetUp    time.Duration // of a migration, what is neither copying nor pause
	Rungs    ladder.Rungs  // that the engine may take, from the gentlest on
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
	Update(l predict.Load)
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
