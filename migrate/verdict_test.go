package migrate

import (
	"context"
	"testing"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// TestDecide has all pairs of answers, with nothing else known and the migration over.
func TestDecide(t *testing.T) {
	views := map[string]view{
		"runs":   {status: runs("migrated")},
		"paused": {status: stopped("migration")},
		"absent": {err: libvirt.ErrNoDomain},
		"silent": {err: context.DeadlineExceeded},
	}
	cases := []struct {
		source, target string
		outcome        Outcome
		settled        bool
		resume         bool
	}{
		{"runs", "runs", Unknown, false, false},
		{"runs", "paused", Stayed, false, false},
		{"runs", "absent", Stayed, true, false},
		{"runs", "silent", Stayed, true, false},
		{"paused", "runs", Moved, true, false},
		{"paused", "paused", Unknown, false, false},
		{"paused", "absent", Stayed, false, true}, // the only one that resumes
		{"paused", "silent", Unknown, false, false},
		{"absent", "runs", Moved, true, false},
		{"absent", "paused", Unknown, false, false},
		{"absent", "absent", Unknown, false, false},
		{"absent", "silent", Unknown, false, false},
		{"silent", "runs", Moved, false, false},
		{"silent", "paused", Unknown, false, false},
		{"silent", "absent", Unknown, false, false},
		{"silent", "silent", Unknown, false, false},
	}
	for _, c := range cases {
		t.Run(c.source+" and "+c.target, func(t *testing.T) {
			e := evidence{uuid: guestUUID, ended: true, source: views[c.source], target: views[c.target]}
			got := decide(e)
			if got.outcome != c.outcome || got.settled != c.settled || got.resume != c.resume {
				t.Errorf("%+v, want %+v", got, c)
			}
			if got.outcome == Unknown && got.note == "" {
				t.Error("unknown, and no word why")
			}
			for _, worse := range []func(*evidence){
				func(e *evidence) { e.completed = true }, func(e *evidence) { e.blind = true }, func(e *evidence) { e.ended = false },
			} {
				e := e
				worse(&e)
				if v := decide(e); v.resume || (v.outcome == Stayed && got.outcome != Stayed) {
					t.Errorf("%+v gives %+v", e, v)
				}
			}
		})
	}
}

func TestCondition(t *testing.T) {
	other, off := runs("booted"), runs("booted")
	other.UUID = "99999999-0000-0000-0000-000000000000"
	off.State = libvirt.ShutOff
	asleep := runs("unknown")
	asleep.State = libvirt.PMSuspended
	cases := []struct {
		name string
		view view
		want condition
	}{
		{"another guest of that name", view{status: other}, absent},
		{"defined only", view{status: off}, absent},
		{"asleep", view{status: asleep}, running},
		{"process gone, libvirt silent", view{err: context.DeadlineExceeded, gone: true}, absent},
		{"silent", view{err: context.DeadlineExceeded}, noAnswer},
	}
	for _, c := range cases {
		if got := c.view.condition(guestUUID); got != c.want {
			t.Errorf("%s: condition %d, want %d", c.name, got, c.want)
		}
	}
	if (view{status: other}).condition("") != running {
		t.Error("without a UUID the name must do")
	}
}

// TestDecideInPostCopy has the pairs of answers in which a guest is in post-copy. None of them resumes
// anything, and none is called moved or stayed.
func TestDecideInPostCopy(t *testing.T) {
	half, torn := view{status: stopped("postcopy")}, view{status: stopped("postcopy-failed")}
	going, stuck := view{status: runs("postcopy")}, view{status: runs("postcopy-failed")}
	absent, silent := view{err: libvirt.ErrNoDomain}, view{err: context.DeadlineExceeded}
	cases := []struct {
		name           string
		source, target view
		settled, torn  bool
	}{
		{"under way", half, going, false, false},
		{"the target is about to run", half, view{status: stopped("migration")}, false, false},
		{"broken at both ends", torn, stuck, true, true},
		{"broken, and only the source noticed", torn, going, true, true},
		{"broken, and only the target noticed", half, stuck, true, true},
		{"broken, the target is paused", torn, view{status: stopped("postcopy-failed")}, true, true},
		{"the target lost it", torn, absent, true, false},
		{"the target lost it a moment ago", half, absent, true, false},
		{"the source lost it", absent, stuck, true, false},
		{"the source lost it a moment ago", absent, going, false, false},
		{"the target is silent", half, silent, false, false},
		{"the source is silent", silent, going, false, false},
		{"the source is silent, and it broke", silent, stuck, false, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			v := decide(evidence{uuid: guestUUID, source: c.source, target: c.target, ended: true})
			if v.outcome != Unknown || v.resume || v.settled != c.settled || v.torn != c.torn || v.note == "" {
				t.Errorf("%+v", v)
			}
		})
	}
	// What libvirt leaves of the source when all went well, and of the events alone.
	if v := decide(evidence{uuid: guestUUID, source: absent, target: view{status: runs("migrated")}, postCopy: true}); v.outcome != Moved {
		t.Errorf("a post-copy that is done: %+v", v)
	}
	if v := decide(evidence{uuid: guestUUID, source: view{status: stopped("migration")}, target: absent, postCopy: true, ended: true}); v.resume {
		t.Error("a source that may have given its guest away was resumed")
	}
}
