package preflight

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/shellword"
	"github.com/vmferry/vmferry/migrate/wait"
)

const (
	jobAgain = 100 * time.Millisecond // between two looks at a job that has sent nothing
	jobYoung = 2 * time.Second        // for how long such a job is looked at
)

// sourceState is what the guest's state at the source means for a migration.
type sourceState int

const (
	immovable      sourceState = iota // a migration would fail, or make it worse
	movable                           // it runs
	pausedByUser                      // it is paused at the target, too
	inSwitchover                      // paused by a migration that may be under way, which is adopted then
	inPostCopy                        // the same, and the guest runs at the target already
	postCopyFailed                    // nothing but a recovery can save the guest, whoever began it
)

// stateOf is the rule. adopt is Request.Adopt.
func stateOf(s libvirt.Status, adopt bool) sourceState {
	if s.State == libvirt.Running || s.State == libvirt.Blocked {
		return movable
	}
	if s.State != libvirt.Paused {
		return immovable
	}
	switch {
	case s.Reason == "user":
		return pausedByUser
	case s.Reason == "postcopy-failed":
		return postCopyFailed
	case s.Reason == "migration" && adopt:
		return inSwitchover
	case s.Reason == "postcopy" && adopt:
		return inPostCopy
	}
	return immovable
}

// checkSource refuses states that a migration would fail in or make worse.
func checkSource(ctx context.Context, p *inspection, s libvirt.Status) error {
	state := stateOf(s, p.req.Adopt)
	f := &p.found
	f.Paused, f.InPostCopy, f.PostCopyFailed = state == pausedByUser, state == inPostCopy, state == postCopyFailed
	switch state {
	case postCopyFailed:
		return nil
	case immovable:
		return &Refusal{CheckRunning, fmt.Sprintf("the guest is %v (%s)", s.State, s.Reason),
			"only a running guest can be moved live", nil}
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	job, err := jobAtSource(ctx, p)
	if err := judgeJob(state, job, err); err != nil {
		return err
	}
	if job.Active && p.req.Adopt {
		f.Adopted = true
		return nil
	}
	if job.Active {
		hint := "wait for it"
		if p.driver.JobControl {
			hint += ", or abort it: virsh domjobabort " + shellword.Operands(p.req.Guest)
		}
		return &Refusal{CheckJob, "another migration, save or dump of the guest is under way", hint, nil}
	}
	if state == movable && isHalted(ctx, p) {
		return &Refusal{CheckRunning, "the guest is paused since a migration or save of it failed",
			"stop it, or, where no other node has it, resume it: xl resume " + shellword.Word(p.req.Guest), nil}
	}
	return nil
}

// judgeJob refuses a guest where it is not known whether a job is under way, or that a job left paused.
func judgeJob(state sourceState, job libvirt.JobStats, err error) error {
	switch {
	case err == nil && !job.Active && (state == inSwitchover || state == inPostCopy):
		return &Refusal{CheckRunning, "the guest was left paused by a migration",
			"stop it: it is not known here whether the target ran it", nil}
	case err != nil && !errors.Is(err, libvirt.ErrUnsupported):
		return &Refusal{CheckJob, "it is not known whether a job of the guest is under way", "", err}
	}
	return nil
}

// isHalted asks the hypervisor itself where libvirt's answer for a running guest is no proof.
func isHalted(ctx context.Context, p *inspection) bool {
	if p.driver.TracksProcess || p.deps.Halted == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, endpoint.LookTime)
	defer cancel()
	halted, err := p.deps.Halted(ctx, p.req.Guest, p.found.UUID)
	return halted && err == nil
}

// jobAtSource is the guest's job. One that has nothing to show may be the rehearsal of another pre-flight, and is
// looked at again until it has ended, or is none of these.
func jobAtSource(ctx context.Context, p *inspection) (libvirt.JobStats, error) {
	for began := time.Now(); ; {
		job, err := p.source.Host.JobStats(ctx, p.req.Guest)
		young := job.Active && job.Total == 0 && job.Processed == 0 && p.driver.JobControl
		if err != nil || !young || time.Since(began) >= jobYoung {
			return job, err
		}
		if wait.For(ctx, jobAgain) != nil {
			return job, nil
		}
	}
}

// checkOtherHalf wants the other half of a guest whose post-copy failed at this target, and not at another. connect is
// the error of the connection to it.
func checkOtherHalf(ctx context.Context, p *inspection, connect error) error {
	there := endpoint.Observation{Err: connect}
	if connect == nil {
		there = p.target.Observe(ctx, p.req.Guest)
	}
	if there.End(p.found.UUID).InPostCopy() {
		return nil
	}
	return &Refusal{CheckRunning,
		"post-copy of the guest failed, and the rest of it is not at the target, where it is " + there.String(),
		"move it to where it was moved to before, or destroy it at both ends and start it again", nil}
}
