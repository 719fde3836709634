package verify

import (
	"testing"

	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/record"
)

func runs(reason string) endpoint.End { return endpoint.End{State: endpoint.Running, Reason: reason} }

func paused(reason string) endpoint.End { return endpoint.End{State: endpoint.Paused, Reason: reason} }

// TestDecide has all pairs of answers, with nothing else known and the migration over.
func TestDecide(t *testing.T) {
	ends := map[string]endpoint.End{
		"runs": runs("migrated"), "paused": paused("migration"), "absent": {State: endpoint.Absent}, "silent": {},
	}
	cases := []struct {
		source, target string
		outcome        record.Outcome
		final          bool
		resume         bool
	}{
		{"runs", "runs", record.Unknown, false, false},
		{"runs", "paused", record.Stayed, false, false},
		{"runs", "absent", record.Stayed, true, false},
		{"runs", "silent", record.Stayed, true, false},
		{"paused", "runs", record.Moved, true, false},
		{"paused", "paused", record.Unknown, false, false},
		{"paused", "absent", record.Stayed, false, true}, // the only one that resumes
		{"paused", "silent", record.Unknown, false, false},
		{"absent", "runs", record.Moved, true, false},
		{"absent", "paused", record.Unknown, false, false},
		{"absent", "absent", record.Unknown, false, false},
		{"absent", "silent", record.Unknown, false, false},
		{"silent", "runs", record.Moved, false, false},
		{"silent", "paused", record.Unknown, false, false},
		{"silent", "absent", record.Unknown, false, false},
		{"silent", "silent", record.Unknown, false, false},
	}
	for _, c := range cases {
		t.Run(c.source+" and "+c.target, func(t *testing.T) {
			e := Evidence{Ended: true, Source: ends[c.source], Target: ends[c.target]}
			got := Decide(e)
			if got.Outcome != c.outcome || got.Final != c.final || got.Resume != c.resume {
				t.Errorf("%+v, want %+v", got, c)
			}
			if got.Outcome == record.Unknown && got.Note == "" {
				t.Error("unknown, and no word why")
			}
			for _, worse := range []func(*Evidence){
				func(e *Evidence) { e.Completed = true }, func(e *Evidence) { e.Blind = true },
				func(e *Evidence) { e.Ended = false },
			} {
				e := e
				worse(&e)
				if v := Decide(e); v.Resume || (v.Outcome == record.Stayed && got.Outcome != record.Stayed) {
					t.Errorf("%+v gives %+v", e, v)
				}
			}
		})
	}
}

// TestDecideInPostCopy has the pairs of answers in which a guest is in post-copy. None of them resumes
// anything, and none is called moved or stayed.
func TestDecideInPostCopy(t *testing.T) {
	half, failed := paused("postcopy"), paused("postcopy-failed")
	going, stuck := runs("postcopy"), runs("postcopy-failed")
	absent, silent := endpoint.End{State: endpoint.Absent}, endpoint.End{}
	cases := []struct {
		name           string
		source, target endpoint.End
		final, recover bool
	}{
		{"under way", half, going, false, false},
		{"the target is about to run", half, paused("migration"), false, false},
		{"failed at both ends", failed, stuck, true, true},
		{"failed, and only the source noticed", failed, going, true, true},
		{"failed, and only the target noticed", half, stuck, true, true},
		{"failed, the target is paused", failed, failed, true, true},
		{"the target lost it", failed, absent, true, false},
		{"the target lost it a moment ago", half, absent, true, false},
		{"the source lost it", absent, stuck, true, false},
		{"the source lost it a moment ago", absent, going, false, false},
		{"the target is silent", half, silent, false, false},
		{"the source is silent", silent, going, false, false},
		{"the source is silent, and it broke", silent, stuck, false, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			v := Decide(Evidence{Source: c.source, Target: c.target, Ended: true})
			if v.Outcome != record.Unknown || v.Resume || v.Final != c.final || v.Recover != c.recover || v.Note == "" {
				t.Errorf("%+v", v)
			}
		})
	}
	// What libvirt leaves of the source when all went well, and of the events alone.
	if v := Decide(Evidence{Source: absent, Target: runs("migrated"), PostCopy: true}); v.Outcome != record.Moved {
		t.Errorf("a post-copy that is done: %+v", v)
	}
	if v := Decide(Evidence{Source: paused("migration"), Target: absent, PostCopy: true, Ended: true}); v.Resume {
		t.Error("a source that may have given its guest away was resumed")
	}
}
