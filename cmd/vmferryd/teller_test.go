package main

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/pacemaker"
	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/resource"
)

func TestRefresh(t *testing.T) {
	moves := hbplugin.Verdict{Resource: "a", Fate: hbplugin.MovesLive, To: "n2"}
	refused := hbplugin.Verdict{Resource: "a", Fate: hbplugin.Restarts, To: "n2", Why: "n2 lacks its bridge"}
	banned := hbplugin.Verdict{Resource: "a", Fate: hbplugin.Stops, Why: "banned"}
	elsewhere := hbplugin.Verdict{Resource: "a", Fate: hbplugin.MovesLive, To: "n3"}
	for _, tt := range []struct {
		name                        string
		fresh, forecast, then, want hbplugin.Verdict
	}{
		{"the manager says the same: the target's word holds", moves, moves, refused, refused},
		{"banned since", banned, moves, moves, banned},
		{"no longer banned", moves, banned, banned, moves},
		{"to another node", elsewhere, moves, refused, elsewhere},
		{"not known then", moves, hbplugin.Verdict{Resource: "b"}, hbplugin.Verdict{Resource: "b"}, moves},
	} {
		got := refresh([]hbplugin.Verdict{tt.fresh}, answer{[]hbplugin.Verdict{tt.forecast}, []hbplugin.Verdict{tt.then}})
		if !reflect.DeepEqual(got, []hbplugin.Verdict{tt.want}) {
			t.Errorf("%s: %+v", tt.name, got)
		}
	}
}

// A manager that cannot be asked at a shutdown leaves what was said before.
func TestForetellKeepsTheLastWord(t *testing.T) {
	o := &oracle{view: hbplugin.View{Running: true}, said: []hbplugin.Verdict{restarts("db", "banned")}}
	tell := tellerOf(o)
	if _, err := tell.ask(t.Context(), []hbplugin.Manager{o}); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*oracle){
		"an error": func(o *oracle) { o.err = errors.New("crm_simulate: no answer") },
		"silence":  func(o *oracle) { o.err, o.hangs = nil, true },
		"no view":  func(o *oracle) { o.hangs, o.viewErr = false, errors.New("crm_mon: no answer") },
	} {
		t.Run(name, func(t *testing.T) {
			o.set(change)
			defer o.set(func(o *oracle) { o.err, o.hangs, o.viewErr = nil, false, nil })
			ctx, cancel := context.WithTimeout(t.Context(), tellMargin+20*time.Millisecond)
			defer cancel()
			got, err := tell.foretell(ctx)
			if err == nil || len(got) != 1 || got[0].Why != "banned" || ctx.Err() != nil {
				t.Errorf("%+v, %v, %v", got, err, ctx.Err())
			}
		})
	}
	if got, err := tell.foretell(t.Context()); err != nil || len(got) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

// A shutdown ends the questions to the targets, and what they had answered before still counts.
func TestForetellStopsTheQuestions(t *testing.T) {
	o := &oracle{view: hbplugin.View{Running: true}, said: []hbplugin.Verdict{restarts("db", "banned")}}
	tell := tellerOf(o)
	managers := []hbplugin.Manager{o}
	if _, err := tell.ask(t.Context(), managers); err != nil {
		t.Fatal(err)
	}
	began := make(chan struct{})
	hung := &oracle{hangs: true}
	tell.notes = func() ([]resource.Entry, error) {
		select {
		case <-began:
		default:
			close(began)
		}
		return nil, nil
	}
	done := make(chan error, 1)
	go func() { _, err := tell.ask(t.Context(), []hbplugin.Manager{hung}); done <- err }()
	<-began
	got, err := tell.foretell(t.Context())
	if err != nil || len(got) != 1 || got[0].Why != "banned" {
		t.Errorf("%+v, %v", got, err)
	}
	if err := <-done; !errors.Is(err, errShutdown) {
		t.Errorf("the questions ended with %v", err)
	}
	o.set(func(o *oracle) { o.err = errors.New("no answer") })
	if got, err := tell.foretell(t.Context()); err == nil || len(got) != 1 {
		t.Errorf("afterwards: %+v, %v", got, err)
	}
}

// A guest without a resource is nobody's to move; one that just comes or goes is somebody's.
func TestAskNamesTheDeleted(t *testing.T) {
	o := &oracle{view: hbplugin.View{Running: true}, said: allLive("web"), claims: []hbplugin.Claim{{Resource: "web"}, {Resource: "comes"}}}
	tell := tellerOf(o)
	tell.notes = func() ([]resource.Entry, error) { return []resource.Entry{{Resource: "old", Guest: "Old 1"}}, nil }
	tell.here = func(context.Context) ([]string, error) { return []string{"comes", "old", "web"}, nil }
	got, err := tell.ask(t.Context(), []hbplugin.Manager{o})
	want := hbplugin.Verdict{Resource: "old", Fate: hbplugin.Stays, Why: "its resource was deleted while it ran",
		Remedy: "before the node goes down, type: vmferry migrate 'Old 1' NODE"}
	if err != nil || len(got) != 2 || !reflect.DeepEqual(got[1], want) {
		t.Errorf("%+v, %v", got, err)
	}
}

// Where no cluster manager runs there is nothing to foretell, and the drain says so itself.
func TestForetellWithoutAManager(t *testing.T) {
	if got, err := tellerOf(&oracle{}).foretell(t.Context()); got != nil || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

// mute is a cluster manager that tells nothing beforehand.
type mute struct{ hbplugin.Manager }

func (mute) String() string { return "mute" }
func (mute) View(context.Context) (hbplugin.View, error) {
	return hbplugin.View{Running: true}, nil
}

func TestClaimsAreAllOrNone(t *testing.T) {
	one := &oracle{view: hbplugin.View{Running: true}, claims: []hbplugin.Claim{{Resource: "a"}}}
	two := &oracle{view: hbplugin.View{Running: true}, claims: []hbplugin.Claim{{Resource: "b"}}}
	got, err := tellerOf(one, two).claims(t.Context())
	if err != nil || len(got) != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	two.err = errors.New("cibadmin: no answer")
	for name, tell := range map[string]*teller{
		"one does not answer": tellerOf(one, two), "one cannot tell": tellerOf(one, mute{}),
		"none runs": tellerOf(&oracle{}),
	} {
		if got, err := tell.claims(t.Context()); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestRecordsOf(t *testing.T) {
	since := time.Unix(1000, 0)
	at := func(s int64, guest, uuid string) migrate.Record {
		return migrate.Record{Guest: guest, UUID: uuid, Started: time.Unix(s-50, 0), Ended: time.Unix(s, 0)}
	}
	records := []migrate.Record{at(999, "db", "AA"), at(1000, "db", "aa"), at(1001, "DB2", "aa"), at(1002, "db", ""), at(1003, "db", "bb"), at(1004, "r", "cc")}
	for _, tt := range []struct {
		name string
		note resource.Entry
		want string
	}{
		{"by UUID, of its own time", resource.Entry{Guest: "db", UUID: "aa"}, "db DB2 db"},
		{"by name where nobody knows the UUID", resource.Entry{Guest: "db"}, "db db db"},
		{"by the resource's name without a note", resource.Entry{}, "r"},
	} {
		var got []string
		for _, r := range recordsOf("r", tt.note, records, since) {
			got = append(got, r.Guest)
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, s, tt.want)
		}
	}
}

// What the agent has noted of a guest serves after the guest has left, and its note with it.
func TestTraceOutlivesTheNote(t *testing.T) {
	tell := tellerOf(mute{})
	tell.notes = func() ([]resource.Entry, error) {
		return []resource.Entry{{Resource: "rsc", Guest: "Web 1", UUID: "aa"}}, nil
	}
	now := time.Now()
	tell.records = func() ([]migrate.Record, error) {
		return []migrate.Record{{Guest: "Web 1", UUID: "aa", Outcome: migrate.Moved, Ended: now.Add(time.Second)}}, nil
	}
	if _, err := tell.foretell(t.Context()); err == nil {
		t.Error("a mute manager has told something")
	}
	tell.notes = func() ([]resource.Entry, error) { return nil, nil }
	got := tell.trace(t.Context(), []string{"rsc", "other"}, now)
	if len(got["rsc"].Records) != 1 || len(got["other"].Records) != 0 || got["rsc"].Lost == nil {
		t.Errorf("%+v", got)
	}
}

func TestTellerTakesOwnGuestsForClaimed(t *testing.T) {
	c := newConfig()
	c.Agents = []string{"ocf:heartbeat:VirtualDomain"}
	tell := newTeller(c)
	foretold, claimed := tell.managers()[0].(*pacemaker.Client).Agents, tell.claimers()[0].(*pacemaker.Client).Agents
	if !slices.Equal(foretold, c.Agents) || !slices.Equal(claimed, []string{"ocf:heartbeat:VirtualDomain", ownAgent}) {
		t.Errorf("foretold of %q, claims of %q", foretold, claimed)
	}
}
