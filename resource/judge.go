package resource

import (
	"strings"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// verdict is what the agent believes of a guest on this node.
type verdict int

// The verdicts. Only notRunning says that nothing of the guest is here.
const (
	unknown    verdict = iota // cannot tell
	running                   // the guest is here and runs, or rests because someone wants it so
	notRunning                // proven: the guest has no process here
	incoming                  // a migration is bringing the guest; it does not run here yet
	switching                 // paused between two nodes: a migration is at its hand-over, or died there
	stalled                   // the guest is here and does not work: it needs a restart or a person
)

func (v verdict) String() string {
	return [...]string{"unknown", "running", "not running", "incoming", "switching", "stalled"}[v]
}

// settled tells whether waiting is not expected to change the verdict.
func (v verdict) settled() bool { return v != unknown && v != switching }

// answer is what libvirt says of a guest: a key of table.
type answer string

// The answers that are no state of libvirt's.
const (
	unreachable answer = "unreachable" // dead, blocked, or it failed to answer
	absent      answer = "absent"      // libvirt answered: no such domain
)

// The source's answers for a guest that runs at the target while part of its memory is still here,
// and for one of which that broke.
const (
	postCopySource answer = "paused/postcopy"
	tornPostCopy   answer = "paused/postcopy-failed"
)

// pausedByUser is also what Xen's driver calls a guest of whose migration to here all has come, and which the source
// has not let go yet, and pausedUnknown after the driver was started anew; pausedAtArrival is a better word for that.
const (
	pausedByUser    answer = "paused/user"
	pausedUnknown   answer = "paused/unknown"
	pausedAtArrival answer = "paused/starting-up"
)

// beingSaved is libvirt's answer while it writes the guest's memory to a file.
const beingSaved answer = "paused/save"

// answerOf writes a status as a key of table: "paused/ioerror".
func answerOf(s libvirt.Status) answer { return answer(s.State.String() + "/" + s.Reason) }

// sight is what the process witness says of a guest.
type sight int

const (
	seen     sight = iota // its process is here
	arriving              // a process is here that waits for it, or that has not been seen to run it
	none                  // proven: no process
	unsure                // some processes could not be looked at
	unasked               // nobody looked: libvirt's answer is undisputed

	// Only Xen tells these, and they go before what libvirt says.
	halted // it stands still for a hand-over or a saving
	ending // it has shut down, or is being torn down; a guest that reboots is made anew then
	broken // it crashed, and was kept
)

// table is the whole of the agent's judgement. A row is found by libvirt's state and
// reason, or else by the state; its columns are the sights, in their order.
//
// libvirt is believed when it says that a guest is here; where there is no process, only once it stays with
// that (isDisputed). It is not believed alone when it says that a guest is gone, because a process
// it has lost still writes to the disk.
//
// A guest that reboots keeps its process and its state: QEMU resets it in place. One that shuts
// down is here until its process has ended.
//
// A pause that a person or a job of theirs asked for counts as running, as in
// VirtualDomain: the agent does not undo what an operator did. A pause that QEMU made
// because it could not go on does not.
var table = map[answer][4]verdict{
	//                     seen      arriving   none        unsure
	unreachable:          {running, unknown, notRunning, unknown},
	absent:               {running, unknown, notRunning, unknown},
	"shut off":           {running, unknown, notRunning, unknown},
	"no state":           {running, incoming, unknown, unknown},
	"running":            {running, running, running, running},
	"blocked":            {running, running, running, running},
	"shutting down":      {running, running, running, running},
	"paused":             {running, running, running, running},
	"paused/migration":   {switching, incoming, switching, switching},
	"paused/starting-up": {unknown, incoming, unknown, unknown},
	// The source of a post-copy: the guest runs on the target and still reads its memory from here.
	postCopySource:     {running, running, running, running},
	tornPostCopy:       {stalled, stalled, stalled, stalled},
	"paused/ioerror":   {stalled, stalled, stalled, stalled},
	"paused/watchdog":  {stalled, stalled, stalled, stalled},
	"paused/crashed":   {stalled, stalled, stalled, stalled},
	"paused/api-error": {stalled, stalled, stalled, stalled},
	"crashed":          {stalled, stalled, notRunning, stalled},
	"suspended":        {stalled, stalled, stalled, stalled},
	// Running in libvirt's words, but stopped by a broken post-copy.
	"running/postcopy-failed": {stalled, stalled, stalled, stalled},
}

// judge looks the pair up. What the table does not know, it cannot tell.
func judge(a answer, s sight) verdict {
	switch s {
	case unasked:
		s = seen // all columns are the same
	case halted:
		return switching
	case ending:
		return unknown // soon it is gone, or back
	case broken:
		return stalled
	}
	return row(a)[s]
}

// undisputed tells whether libvirt's answer decides alone, whatever a process witness would
// say.
func undisputed(a answer) bool {
	r := row(a)
	return r != [4]verdict{} && r == [4]verdict{r[0], r[0], r[0], r[0]}
}

// row is that of an answer; the zero row, for what the table does not know, is unknown.
func row(a answer) [4]verdict {
	if r, ok := table[a]; ok {
		return r
	}
	state, _, _ := strings.Cut(string(a), "/")
	return table[answer(state)]
}
