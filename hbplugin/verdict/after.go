package verdict

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/record"
)

// Trace is what is known of one guest after the drain of the node that it was on.
type Trace struct {
	Node    string          // the node that was drained
	Records []record.Record // of the guest, since the drain began, in the order in which they were written
	Nodes   []string        // where it is now, by the cluster manager; empty where Lost is not nil
	Busy    bool            // the manager is still at work on it there
	Lost    error           // why Nodes is not known
	There   *libvirt.Status // what libvirt on the first of Nodes says of it; nil where that is not known
}

// Became is what has become of the guest: the fate that it met, and why where it was not moved live. Where it runs
// decides; how it came there is known from libvirt on that node, and by the records where that does not say.
func Became(t Trace) (fate hbplugin.Fate, why string) {
	last, recorded := t.last()
	switch {
	case t.Lost != nil:
		return unplaced(t, last, recorded)
	case slices.Contains(t.Nodes, t.Node):
		return hbplugin.Stays, last.Error
	case len(t.Nodes) == 0:
		return hbplugin.Stops, ended(last)
	case t.There != nil && !t.There.State.Active():
		why = fmt.Sprintf("the cluster manager has it on %s, and libvirt there says %s", t.Nodes[0], t.There.State)
		if t.Busy || len(t.Nodes) > 1 {
			return hbplugin.Unknown, why
		}
		return hbplugin.Stops, join(ended(last), why) // its start there has failed
	}
	switch arrival := arrived(t.There); {
	case arrival == "migrated", arrival == "" && recorded && last.Outcome == record.Moved:
		return hbplugin.MovesLive, ""
	case arrival != "" || recorded:
		return hbplugin.Restarts, ended(last)
	}
	return hbplugin.Unknown, "no record on this node says how it left"
}

// unplaced is the fate of a guest of which nobody knows where it is now.
func unplaced(t Trace, last record.Record, recorded bool) (hbplugin.Fate, string) {
	if recorded && last.Outcome == record.Moved {
		return hbplugin.MovesLive, ""
	}
	why := "where it is now is not known: " + t.Lost.Error()
	if recorded {
		why += "; " + ended(last)
	}
	return hbplugin.Unknown, strings.TrimSuffix(why, "; ")
}

// last is the record of how the guest left, or was to leave. A state that was restored says nothing of that.
func (t Trace) last() (record.Record, bool) {
	for _, r := range slices.Backward(t.Records) {
		if r.Outcome != record.Restored {
			return r, true
		}
	}
	return record.Record{}, false
}

// arrived is how the guest came to the node on which it runs: libvirt's reason for the running state, as long as no
// later event has taken its place.
func arrived(s *libvirt.Status) string {
	if s != nil && s.State == libvirt.Running && slices.Contains([]string{"migrated", "booted", "restored"}, s.Reason) {
		return s.Reason
	}
	return ""
}

// ended is how the guest was taken off its node, and why.
func ended(r record.Record) string {
	if r.Outcome != record.Ended {
		return r.Error
	}
	return join(r.Rung.Spec().Ended, r.Error)
}

// Agrees reports whether what was said before is what happened. Unknown agrees with nothing.
func Agrees(said, happened hbplugin.Fate) bool {
	return said == happened && said != hbplugin.Unknown || said.KeepsRunning() && happened.KeepsRunning()
}
