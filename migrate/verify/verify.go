package verify

import (
	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/record"
)

// Evidence is all that the decision rests on.
type Evidence struct {
	Source, Target endpoint.End

	WasPaused bool // the guest was paused before the migration, on purpose
	Ended     bool // no migration is under way at the source any more
	Completed bool // the source's QEMU said that all was handed over
	PostCopy  bool // the source's QEMU said that the guest may run at the target before that
	Blind     bool // not all of the source's events were seen: Completed may be missing
}

// handedOver is false only when it is certain that the target cannot have run the guest.
func (e Evidence) handedOver() bool { return e.Completed || e.PostCopy || e.Blind }

// Verdict is what the evidence means.
type Verdict struct {
	Outcome record.Outcome
	Final   bool   // further questions cannot change it
	Resume  bool   // resume the guest at the source: it is paused there, and the target has none
	Recover bool   // a post-copy failed, and both ends still have their part of the guest
	Note    string // why, where the outcome alone does not say it
}

// Decide says where the guest runs. The table is in the package comment.
func Decide(e Evidence) Verdict {
	if e.Source.InPostCopy() || e.Target.InPostCopy() {
		return e.inPostCopy()
	}
	switch e.Source.State {
	case endpoint.Absent:
		return e.sourceAbsent()
	case endpoint.Running:
		return e.sourceRunning()
	case endpoint.Paused:
		return e.sourcePaused()
	}
	return e.sourceSilent()
}

// inPostCopy is for a guest of which part of the memory is at the source alone, and all that it wrote since at the
// target alone.
func (e Evidence) inPostCopy() Verdict {
	v := Verdict{Outcome: record.Unknown}
	switch source, target := e.Source, e.Target; {
	case source.State == endpoint.NoAnswer || target.State == endpoint.NoAnswer:
		v.Note = "the guest is in post-copy, and one end does not answer: destroy the guest at neither end"
	case source.State == endpoint.Absent && !target.PostCopyFailed():
		v.Note = "the guest is gone from the source, and its memory at the target may be incomplete"
	case source.State == endpoint.Absent:
		v.Final = true
		v.Note = "post-copy failed, and the memory that was left at the source is lost: " +
			"destroy the guest at the target, and start it again"
	case target.State == endpoint.Absent:
		v.Final = true
		v.Note = "the target lost the guest in post-copy: destroy the paused guest at the source, " +
			"which must never be resumed, and start it again"
	case source.PostCopyFailed() || target.PostCopyFailed():
		v.Final, v.Recover = true, true
		v.Note = "post-copy failed, and the guest is paused with its memory at both ends: destroy it at neither end, " +
			"and migrate it again when the link works (virsh migrate --postcopy --postcopy-resume)"
	default:
		v.Note = "the guest runs at the target, and still reads memory from the source: leave both until that is done"
	}
	return v
}

func (e Evidence) sourceAbsent() Verdict {
	switch {
	case e.Target.State == endpoint.Running:
		return Verdict{Outcome: record.Moved, Final: true}
	case e.Target.State == endpoint.Paused && e.WasPaused:
		return Verdict{Outcome: record.Moved, Final: true,
			Note: "the guest was paused before, and is paused at the target"}
	case e.Target.State == endpoint.Paused:
		return unknown("the guest is paused at the target and gone from the source")
	case e.Target.State == endpoint.Absent:
		return unknown("the guest is at neither end: it was shut off during the migration")
	}
	return unknown("the guest is gone from the source, and the target does not answer")
}

func (e Evidence) sourceRunning() Verdict {
	switch {
	case e.Target.State == endpoint.Running:
		return unknown("the guest runs at both ends: stop one of them")
	case e.Target.State == endpoint.NoAnswer && e.handedOver():
		// Where the reply to libvirt's last step was lost, the source resumes its guest although
		// the target may run. Before "completed" that step cannot have been made.
		return unknown("the guest runs at the source, may have been handed over, and the target does not answer")
	case e.Target.State == endpoint.Paused:
		return e.stayed(false, "a paused copy is left at the target")
	}
	return e.stayed(true, "")
}

func (e Evidence) sourcePaused() Verdict {
	switch {
	case e.Target.State == endpoint.Running:
		const left = "a paused guest is left at the source: destroy it there, never resume it"
		return Verdict{Outcome: record.Moved, Final: true, Note: left}
	case e.Target.State == endpoint.Paused:
		return unknown("the guest is paused at both ends")
	case e.Target.State == endpoint.NoAnswer:
		return unknown("the guest is paused at the source, and the target does not answer: not resumed")
	case e.WasPaused:
		return e.stayed(true, "the guest was paused before, and is still paused")
	case e.handedOver():
		// The target may have run it and lost it since: its disks are no longer those that the
		// paused copy remembers. Where it is safe, libvirt resumes the source by itself.
		return unknown("the guest is paused at the source after it may have been handed over: not resumed")
	}
	v := e.stayed(false, "the guest is paused at the source ("+e.Source.Reason+")")
	if e.Source.Halted {
		v.Note = "the guest is paused at the source, for a switchover that failed"
	}
	v.Resume = v.Outcome == record.Stayed && (e.Source.Halted || leftPaused[e.Source.Reason])
	if v.Outcome == record.Stayed && !v.Resume {
		v.Final = true // paused for a reason of its own, which is not ours to undo
	}
	return v
}

// leftPaused are the reasons that a failed migration leaves behind. A guest that was paused for
// another one (ioerror, user) stays so; one with post-copy in its reason must never be resumed.
var leftPaused = map[string]bool{"migration": true, "unknown": true, "api-error": true}

func (e Evidence) sourceSilent() Verdict {
	if e.Target.State == endpoint.Running && (e.Completed || e.Target.Reason == "migrated") {
		// libvirt starts the target's processors only after the source's QEMU handed all over, and such
		// a QEMU stays paused even when its libvirtd comes back.
		return Verdict{Outcome: record.Moved,
			Note: "the source does not answer: what is left of the guest there is paused"}
	}
	return unknown("the source does not answer")
}

// stayed is believed only when no migration is under way.
func (e Evidence) stayed(final bool, note string) Verdict {
	if !e.Ended {
		return unknown("the guest is at the source, and its migration may still be under way")
	}
	return Verdict{Outcome: record.Stayed, Final: final, Note: note}
}

func unknown(note string) Verdict { return Verdict{Outcome: record.Unknown, Note: note} }
