package migrate

import (
	"time"

	"libvirt.org/go/libvirtxml"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// mover is one Move under way: the parts that make it, and what they share.
type mover struct {
	account
	window
	job
	migration

	req    Request
	unable []string // what the source's driver cannot do of what was asked
	relay  relaying
	queued admission

	wasPaused  bool
	sourceCaps *libvirtxml.Caps // nil before they were asked
	targetCaps *libvirtxml.Caps
	sameHost   bool
	portable   *libvirtxml.Domain // the guest as the target gets it
	sent       string             // the same as text, "" where the driver does not give it
	guard      *Slot              // the guest's lock, from the rehearsal on
	with       []string           // what goes along with the guest or stays behind, in words
	examines   bool               // nothing is to be moved: refusals are kept
	refusals   []*Refusal         // of an examination
	torn       bool               // an earlier migration failed in its post-copy phase

	link     Link        // what is remembered of the link to the target
	profile  Profile     // what is remembered of the guest
	hurries  func() bool // others waited for the end of this move when it was first asked
	load     libvirt.Load
	measured time.Time // when the result of the measurement will be there, zero where there is none

	carried  []*carried // the disks that go along
	disks    diskLoad
	lacks    []string // what a start at the target would need, and the target does not have
	sharedBy func(path string) (kind string, err error)
}

// budget is what the blackout is to stay within.
func (m *mover) budget() time.Duration { return m.req.budget() }
