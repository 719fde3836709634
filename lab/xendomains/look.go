package xendomains

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Look is what dom0 saw of its hypervisor's domains at one time.
type Look struct {
	// At is when, and Before when the look before it was: what changed did so
	// between the two. Both are on dom0's monotonic clock (CLOCK_MONOTONIC), in
	// nanoseconds; Before is 0 for the first look.
	At     time.Duration `json:"at"`
	Before time.Duration `json:"before"`
	// Domains are all but dom0, in order of their numbers.
	Domains []Domain `json:"domains"`
}

// Domain is one domain at one time.
type Domain struct {
	ID    int    `json:"id"` // its number, never used again until the host boots
	UUID  string `json:"uuid"`
	State State  `json:"state"`
}

// State is what a domain does, as far as it matters to who asks whether it
// executes.
type State string

// States of a domain. The hypervisor has more to say of one that executes
// (running, or blocked until an event comes), which changes all the time.
const (
	Executing State = "executing"
	Paused    State = "paused"    // held by the toolstack: not built yet, or paused by an operator
	Suspended State = "suspended" // by itself, as requested for a migration or a save
	Ended     State = "ended"     // it powered off, wants a reboot, or crashed
	Dying     State = "dying"     // destroyed, and not yet forgotten
)

// equal reports whether two looks saw the same.
func (l Look) equal(other Look) bool { return slices.Equal(l.Domains, other.Domains) }

// maxDomains bounds what is read of one look: the lab's nodes have a few.
const maxDomains = 64

// Parse reads a line that [Main] wrote.
func Parse(line []byte) (Look, error) {
	var l Look
	if err := json.Unmarshal(line, &l); err != nil {
		return Look{}, fmt.Errorf("read a look at the domains: %w", err)
	}
	if l.At <= 0 || l.Before < 0 || l.Before > l.At || len(l.Domains) > maxDomains {
		return Look{}, fmt.Errorf("read a look at the domains: at %d after %d, %d domains", l.At, l.Before,
			len(l.Domains))
	}
	for _, d := range l.Domains {
		switch d.State {
		case Executing, Paused, Suspended, Ended, Dying:
		default:
			return Look{}, fmt.Errorf("read a look at the domains: domain %d is %q", d.ID, d.State)
		}
	}
	return l, nil
}
