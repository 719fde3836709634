package migrate

import (
	"github.com/vmferry/vmferry/migrate/endpoint"
)

// evidence is all that the decision rests on.
type evidence struct {
	uuid           string
	source, target endpoint.Observation
	wasPaused      bool // the guest was paused before the move, on purpose
	ended          bool // no migration is under way at the source any more
	completed      bool // the source's QEMU said that all was handed over
	postCopy       bool // the source's QEMU said that the guest may run at the target before that
	blind          bool // the source's events were not all seen: completed may be missing
}

// handedOver is false only when it is certain that the target cannot have run the guest.
func (e evidence) handedOver() bool { return e.completed || e.postCopy || e.blind }

// verdict is what the evidence means.
type verdict struct {
	outcome Outcome
	settled bool   // further questions cannot change it
	resume  bool   // resume the guest at the source: it is paused there, and the target has none
	torn    bool   // a post-copy broke, and both ends still have their part of the guest
	note    string // why, where the outcome alone does not say it
}

// decide says where the guest runs. Whatever is not settled is asked again while
// there is time: the ends are asked one after the other, and libvirt tidies up for a
// moment after a migration.
func decide(e evidence) verdict {
	if e.source.InPostCopy(e.uuid) || e.target.InPostCopy(e.uuid) {
		return e.halved()
	}
	switch source := e.source.Condition(e.uuid); source {
	case endpoint.Absent:
		return e.sourceAbsent()
	case endpoint.Running:
		return e.sourceRuns()
	case endpoint.Paused:
		return e.sourcePaused()
	}
	return e.sourceSilent()
}

// halved is for a guest that is in post-copy: part of its memory is at the source alone, and all that
// it wrote since is at the target alone.
func (e evidence) halved() verdict {
	source, target := e.source.Condition(e.uuid), e.target.Condition(e.uuid)
	v := verdict{outcome: Unknown}
	switch {
	case source == endpoint.NoAnswer || target == endpoint.NoAnswer:
		v.note = "the guest is in post-copy, and one end gives no answer: destroy neither"
	case source == endpoint.Absent && !e.target.PostCopyBroken(e.uuid):
		v.note = "the guest is gone from the source, and at the target its memory may not be complete"
	case source == endpoint.Absent:
		v.settled = true
		v.note = "post-copy broke, and what the source had of the guest's memory is lost: destroy the guest at the target, and start it anew"
	case target == endpoint.Absent:
		v.settled = true
		v.note = "the target lost the guest in post-copy: destroy the paused rest at the source, which must never be resumed, and start the guest anew"
	case e.source.PostCopyBroken(e.uuid) || e.target.PostCopyBroken(e.uuid):
		v.settled, v.torn = true, true
		v.note = "post-copy broke, and the guest stands still with its memory at both ends: destroy neither, and move it again when the link is mended (virsh migrate --postcopy --postcopy-resume)"
	default:
		v.note = "the guest runs at the target, and still reads its memory from the source: leave both alone until that is done"
	}
	return v
}

func (e evidence) sourceAbsent() verdict {
	switch e.target.Condition(e.uuid) {
	case endpoint.Running:
		return verdict{outcome: Moved, settled: true}
	case endpoint.Paused:
		if e.wasPaused {
			return verdict{outcome: Moved, settled: true, note: "the guest was paused before, and is paused at the target"}
		}
		return verdict{outcome: Unknown, note: "the guest is paused at the target and gone from the source"}
	case endpoint.Absent:
		return verdict{outcome: Unknown, note: "the guest is at neither end: it ended meanwhile"}
	}
	return verdict{outcome: Unknown, note: "the guest is gone from the source, and the target gives no answer"}
}

func (e evidence) sourceRuns() verdict {
	switch e.target.Condition(e.uuid) {
	case endpoint.Running:
		return verdict{outcome: Unknown, note: "the guest runs at both ends: stop one of them"}
	case endpoint.NoAnswer:
		// Where the reply to libvirt's last step was lost, the source resumes its guest although
		// the target may run. Before "completed" that step cannot have been made.
		if e.handedOver() {
			return verdict{outcome: Unknown, note: "the guest runs at the source although it may have been handed over, and the target gives no answer"}
		}
	case endpoint.Paused:
		return e.stayed(false, "a paused copy is left at the target")
	}
	return e.stayed(true, "")
}

// stayed is believed only when no migration is under way.
func (e evidence) stayed(settled bool, note string) verdict {
	if !e.ended {
		return verdict{outcome: Unknown, note: "the guest is at the source, and its migration may still be under way"}
	}
	return verdict{outcome: Stayed, settled: settled, note: note}
}

func (e evidence) sourcePaused() verdict {
	switch e.target.Condition(e.uuid) {
	case endpoint.Running:
		return verdict{outcome: Moved, settled: true, note: "a paused leftover is at the source: stop it there, never resume it"}
	case endpoint.Paused:
		return verdict{outcome: Unknown, note: "the guest is paused at both ends"}
	case endpoint.NoAnswer:
		return verdict{outcome: Unknown, note: "the guest is paused at the source, and the target gives no answer: not resumed"}
	}
	if e.wasPaused {
		return e.stayed(true, "the guest was paused before, and is still paused")
	}
	if e.handedOver() {
		// The target may have run it and lost it since: its disks are no longer those that the
		// paused copy remembers. Where it is safe, libvirt resumes the source by itself.
		return verdict{outcome: Unknown, note: "the guest is paused at the source after it may have been handed over: not resumed"}
	}
	v := e.stayed(false, "the guest is paused at the source ("+e.source.Status.Reason+")")
	if e.source.Halted {
		v.note = "the guest stands still at the source, for a hand-over that failed"
	}
	v.resume = v.outcome == Stayed && (e.source.Halted || leftPaused[e.source.Status.Reason])
	if v.outcome == Stayed && !v.resume {
		v.settled = true // paused for a reason of its own, which is not ours to undo
	}
	return v
}

// leftPaused are the reasons that a broken migration leaves behind. A guest that was paused for
// another one (ioerror, user) stays so; one with post-copy in its reason must never be resumed.
var leftPaused = map[string]bool{"migration": true, "unknown": true, "api-error": true}

func (e evidence) sourceSilent() verdict {
	if e.target.Condition(e.uuid) == endpoint.Running && (e.completed || e.target.Status.Reason == "migrated") {
		// libvirt starts the target's processors only after the source's QEMU handed all over, and such
		// a QEMU stays paused even when its libvirtd comes back.
		return verdict{outcome: Moved, note: "the source gives no answer: what is left of the guest there is paused"}
	}
	return verdict{outcome: Unknown, note: "the source gives no answer"}
}
