package migrate

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/vmferry/vmferry/migrate/convergence"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/preflight"
)

// Request says which guest to move where. The deadline is the context's.
type Request struct {
	Guest     string // the domain's name
	UUID      string // optional: what the caller knows, to tell the guest from another of its name
	SourceURI string // the source's libvirt, as seen from here, such as "qemu:///system"
	Target    string // the target node's name, for people and for the record
	TargetURI string // the target's libvirt, as both we and the source's libvirtd reach it

	MigrateURI    string               // optional: the hypervisor's data channel, such as "tcp://10.0.0.2"
	Bandwidth     uint64               // MiB/s, 0 for libvirt's default
	DowntimeLimit time.Duration        // the longest pause, also near the deadline and after PauseAfter; 0 for no such bound
	NoConverge    bool                 // do not slow down a guest that writes faster than the link carries
	Unsafe        bool                 // move even where libvirt fears for disks with a host cache
	Memory        preflight.MemoryMode // what follows where the target is short of memory for the guest
	// BlackoutBudget is what the blackout is to stay within, DefaultBudget when 0. Near the deadline a
	// guest that does not converge is paused for longer all the same, unless Firm. The record tells
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

	// Shorten, when not nil, brings a deadline that is earlier than the context's. It is heeded while
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
		return refuse(preflight.CheckRequest, "TLS and a tunnelled migration are both requested", "request one of them", nil)
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
	Elapsed       time.Duration // since the migration began; all that is known where the driver tells no more
}
