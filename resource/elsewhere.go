package resource

import (
	"fmt"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/shellword"
	"github.com/vmferry/vmferry/resource/observe"
)

// word is what a peer's libvirt says of a guest that is to be started here.
type word int

// The words, the less of a hindrance first.
const (
	hasNot    word = iota // it does not have the guest, or cannot be asked and need not be
	unsettled             // it has a part of the guest, or is letting go of it: soon it is gone or runs there
	mustTell              // it cannot be asked, and only its answer will do
	runsThere             // the guest runs there
	holdsIt               // the guest is there, and does not run
)

// words are libvirt's states of a guest on a peer, found by state and reason, or else by the state. Both ends of a
// migration call the guest paused while it is handed over, and its target does so until libvirt there has noticed that
// the source is gone (keepalive: half a minute) and has dropped what came.
var words = map[observe.LibvirtState]word{
	"running":                 runsThere,
	"blocked":                 runsThere,
	"running/postcopy":        unsettled, // it arrives
	"running/postcopy-failed": holdsIt,
	"no state":                unsettled,
	"paused":                  holdsIt,
	"paused/migration":        unsettled,
	observe.PausedStartingUp:  unsettled,
	observe.PausedPostCopy:    unsettled, // it leaves
	observe.PausedSave:        unsettled,
	"paused/dump":             unsettled,
	"paused/snapshot":         unsettled,
	"paused/from-snapshot":    unsettled,
	"paused/shutting-down":    unsettled,
	"shutting down":           unsettled,
	"shut off":                hasNot,
	"crashed":                 holdsIt,
	"suspended":               holdsIt,
}

// wordOf is a peer's word by libvirt's status. What the table does not know, the peer has.
func wordOf(s libvirt.Status) word {
	if w, ok := observe.Lookup(words, observe.StateOf(s)); ok {
		return w
	}
	return holdsIt
}

// heard is what one peer said.
type heard struct {
	question
	word   word
	status libvirt.Status // of unsettled, runsThere and holdsIt
	err    error          // why there is no answer
}

// course is what a start does about the guest's traces on other nodes.
type course int

// The courses.
const (
	goAhead  course = iota // it is nowhere
	holdOn                 // ask once more in a moment
	bringIt                // move it here from where it runs, live
	giveBack               // give up: somebody else has it, or may have it
)

// decide is what to do by all answers, and the answer that decides. fetches tells whether a guest that runs on a node
// is to be brought here.
//
// A guest that is on its way somewhere is waited for: soon it runs there, or is gone. One that runs on a peer is not.
func decide(all []heard, fetches func(node string) bool) (course, heard) {
	var worst heard
	moving, traces := false, 0
	for _, h := range all {
		moving = moving || h.word == unsettled
		if h.word != hasNot {
			traces++
		}
		if h.word > worst.word {
			worst = h
		}
	}
	mayFetch := worst.word == runsThere && fetches(worst.node)
	switch {
	case traces == 0:
		return goAhead, worst
	case moving && (worst.word <= mustTell || mayFetch):
		return holdOn, worst
	case mayFetch && traces == 1:
		return bringIt, worst
	}
	return giveBack, worst
}

// elsewhere is why a guest is not started: another node has it.
type elsewhere struct {
	node     string
	status   libvirt.Status
	guest    string
	resource string
}

// Error says where it is and what to do.
func (e *elsewhere) Error() string {
	if wordOf(e.status) == unsettled {
		return fmt.Sprintf("a part of it is on %s still, %s (%s): wait until that has ended; "+
			"if nothing sends it any more, on %s type virsh destroy %s",
			e.node, e.status.State, e.status.Reason, e.node, shellword.Operands(e.guest))
	}
	return fmt.Sprintf("it is on %s already, %s (%s): to end it, on %s type virsh shutdown %s; "+
		"to let Pacemaker find it, type crm_resource --refresh --resource %s",
		e.node, e.status.State, e.status.Reason, e.node, shellword.Operands(e.guest), shellword.Word(e.resource))
}
