package preflight

import (
	"context"
	"errors"
	"testing"

	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/libvirt"
)

// Without Adopt a guest that is paused for a migration is not touched.
func TestStateOf(t *testing.T) {
	for _, c := range []struct {
		state   libvirt.State
		reason  string
		alone   sourceState
		adopted sourceState
	}{
		{libvirt.Running, "booted", movable, movable},
		{libvirt.Blocked, "unknown", movable, movable},
		{libvirt.Paused, "user", pausedByUser, pausedByUser},
		{libvirt.Paused, "migration", immovable, inSwitchover},
		{libvirt.Paused, "postcopy", immovable, inPostCopy},
		{libvirt.Paused, "postcopy-failed", postCopyFailed, postCopyFailed},
		{libvirt.Paused, "ioerror", immovable, immovable},
		{libvirt.Crashed, "panicked", immovable, immovable},
		{libvirt.PMSuspended, "unknown", immovable, immovable},
	} {
		s := libvirt.Status{State: c.state, Reason: c.reason}
		if alone, adopted := stateOf(s, false), stateOf(s, true); alone != c.alone || adopted != c.adopted {
			t.Errorf("%v (%s): %d, and %d to be adopted", c.state, c.reason, alone, adopted)
		}
	}
}

func TestJudgeJob(t *testing.T) {
	active := libvirt.JobStats{Active: true}
	for _, c := range []struct {
		name  string
		state sourceState
		job   libvirt.JobStats
		err   error
		check string // "" where it may be migrated, or its migration adopted
	}{
		{"no job", movable, libvirt.JobStats{}, nil, ""},
		{"a job", movable, active, nil, ""},
		{"a switchover under way", inSwitchover, active, nil, ""},
		{"left paused in its switchover", inSwitchover, libvirt.JobStats{}, nil, CheckRunning},
		{"left paused in post-copy", inPostCopy, libvirt.JobStats{}, nil, CheckRunning},
		{"no answer", movable, libvirt.JobStats{}, context.DeadlineExceeded, CheckJob},
		{"a driver without jobs", movable, libvirt.JobStats{}, libvirt.ErrUnsupported, ""},
	} {
		if err := judgeJob(c.state, c.job, c.err); checkOf(err) != c.check {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestJudgeDuplicate(t *testing.T) {
	const ours, other = "11111111-2222-3333-4444-555555555555", "99999999-0000-0000-0000-000000000000"
	guest := func(uuid string, s libvirt.State) endpoint.Observation {
		return endpoint.Observation{Status: libvirt.Status{UUID: uuid, State: s, ID: 1}}
	}
	for _, c := range []struct {
		name  string
		there endpoint.Observation
		check string
	}{
		{"none", endpoint.Observation{Err: libvirt.ErrNoDomain}, ""},
		{"no answer", endpoint.Observation{Err: context.DeadlineExceeded}, CheckTarget},
		{"another of its name", guest(other, libvirt.Running), CheckDuplicate},
		{"another of its name, not active", guest(other, libvirt.ShutOff), CheckDuplicate},
		{"itself", guest(ours, libvirt.Running), CheckDuplicate},
		{"a paused copy", guest(ours, libvirt.Paused), CheckDuplicate},
	} {
		if err := judgeDuplicate(c.there, ours); checkOf(err) != c.check {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// checkOf is the check that refuses, "" for none.
func checkOf(err error) string {
	var r *Refusal
	if errors.As(err, &r) {
		return r.Check
	}
	return ""
}

// The table has a limit and a function for each check, and names them as refusals do.
func TestChecks(t *testing.T) {
	for _, c := range table {
		if c.name == "" || c.limit <= 0 || c.ask == nil {
			t.Errorf("check %q: limit %v", c.name, c.limit)
		}
	}
}
