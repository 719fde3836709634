package migrate

import (
	"context"
	"testing"

	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/libvirt"
)

// TestDecide has all pairs of answers, with nothing else known and the migration over.
func TestDecide(t *testing.T) {
	views := map[string]endpoint.Observation{
		"runs":   {Status: runs("migrated")},
		"paused": {Status: stopped("migration")},
		"absent": {Err: libvirt.ErrNoDomain},
		"silent": {Err: context.DeadlineExceeded},
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

// TestDecideInPostCopy has the pairs of answers in which a guest is in post-copy. None of them resumes
// anything, and none is called moved or stayed.
func TestDecideInPostCopy(t *testing.T) {
	half, torn := endpoint.Observation{Status: stopped("postcopy")}, endpoint.Observation{Status: stopped("postcopy-failed")}
	going, stuck := endpoint.Observation{Status: runs("postcopy")}, endpoint.Observation{Status: runs("postcopy-failed")}
	absent, silent := endpoint.Observation{Err: libvirt.ErrNoDomain}, endpoint.Observation{Err: context.DeadlineExceeded}
	cases := []struct {
		name           string
		source, target endpoint.Observation
		settled, torn  bool
	}{
		{"under way", half, going, false, false},
		{"the target is about to run", half, endpoint.Observation{Status: stopped("migration")}, false, false},
		{"broken at both ends", torn, stuck, true, true},
		{"broken, and only the source noticed", torn, going, true, true},
		{"broken, and only the target noticed", half, stuck, true, true},
		{"broken, the target is paused", torn, endpoint.Observation{Status: stopped("postcopy-failed")}, true, true},
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
	if v := decide(evidence{uuid: guestUUID, source: absent, target: endpoint.Observation{Status: runs("migrated")}, postCopy: true}); v.outcome != Moved {
		t.Errorf("a post-copy that is done: %+v", v)
	}
	if v := decide(evidence{uuid: guestUUID, source: endpoint.Observation{Status: stopped("migration")}, target: absent, postCopy: true, ended: true}); v.resume {
		t.Error("a source that may have given its guest away was resumed")
	}
}
