package ladder

import "time"

// Rung is one way to get a guest off its node, by its name.
type Rung string

// Spec is all that is to be known of one rung.
type Spec struct {
	Name Rung
	// Text is what it does, in one sentence or more that follow its name in the agent's meta-data.
	Text string
	// Ended is what was done to a guest that left on it, such as "it was saved"; empty for a live rung.
	Ended string

	Live  bool   // it moves the guest over a link while it runs; the others end the guest, to be started elsewhere
	After Rung   // it makes no sense without this one, "" for none
	Or    string // what else helps an operator who names it without After, after a comma
	Needs []Need
	// Always has each stop of the agent try it, also where it is not named: a stop that does not end the guest has
	// the cluster manager fence the node, with all of its guests.
	Always bool

	// Throttle is the per cent that QEMU takes from a guest that does not converge in a pass, counted from 1; nil for
	// a guest that keeps its full speed.
	Throttle func(pass int) int
	// PostCopy has the guest run at the target after one pass, and fetch the rest from there.
	PostCopy bool

	// Takes is how long it takes to end the guest, not ok where that cannot be done; nil for a live rung, which
	// package predict knows.
	Takes func(Ending) (_ time.Duration, ok bool)
}

// Ending is what decides how long it takes to end a guest.
type Ending struct {
	Bytes     float64       // of its memory and device state
	StoreRate float64       // bytes per second at which guests are saved to shared storage, 0 when they cannot be
	Shutdown  time.Duration // how long its clean shutdown may take, 0 where the guest does not say
}

// Need is something without which a rung cannot be tried.
type Need int

// What rungs need.
const (
	JobControl  Need = iota // a driver that steers a migration which is under way
	SharedDisks             // all disks on storage that both nodes have
	SaveDir                 // a directory on storage that all nodes share
)

// Techniques are what may be done to a migration that does not converge, or was done to it.
type Techniques struct {
	Throttle bool // QEMU's auto-converge slows the guest down
	PostCopy bool // the guest runs at the target before all of its memory is there
}

func (s Spec) techniques() Techniques { return Techniques{s.Throttle != nil, s.PostCopy} }
