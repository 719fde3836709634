package prediction

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/migrate/record"
	"github.com/vmferry/vmferry/resource/notes"
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
		got := refresh([]hbplugin.Verdict{tt.fresh},
			prediction{[]hbplugin.Verdict{tt.forecast}, []hbplugin.Verdict{tt.then}})
		if !reflect.DeepEqual(got, []hbplugin.Verdict{tt.want}) {
			t.Errorf("%s: %+v", tt.name, got)
		}
	}
}

// A manager that cannot be asked at a shutdown leaves what was said before.
func TestAtShutdownKeepsTheLastWord(t *testing.T) {
	o := &oracle{view: hbplugin.View{Running: true}, said: []hbplugin.Verdict{restarts("db", "banned")}}
	p := predictorOf(o)
	if _, err := p.Predict(t.Context(), []hbplugin.Cluster{o}); err != nil {
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
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				got, err := p.AtShutdown(ctx)
				if err == nil || len(got) != 1 || got[0].Why != "banned" || ctx.Err() != nil {
					t.Errorf("%+v, %v, %v", got, err, ctx.Err())
				}
			})
		})
	}
	if got, err := p.AtShutdown(t.Context()); err != nil || len(got) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

// A shutdown ends the questions to the targets, and what they had answered before still counts.
func TestAtShutdownStopsTheQuestions(t *testing.T) {
	o := &oracle{view: hbplugin.View{Running: true}, said: []hbplugin.Verdict{restarts("db", "banned")}}
	p := predictorOf(o)
	managers := []hbplugin.Cluster{o}
	if _, err := p.Predict(t.Context(), managers); err != nil {
		t.Fatal(err)
	}
	hung := &oracle{hangs: true, began: make(chan struct{})}
	done := make(chan error, 1)
	go func() { _, err := p.Predict(t.Context(), []hbplugin.Cluster{hung}); done <- err }()
	<-hung.began
	got, err := p.AtShutdown(t.Context())
	if err != nil || len(got) != 1 || got[0].Why != "banned" {
		t.Errorf("%+v, %v", got, err)
	}
	if err := <-done; !errors.Is(err, errShutdown) {
		t.Errorf("the questions ended with %v", err)
	}
	o.set(func(o *oracle) { o.err = errors.New("no answer") })
	if got, err := p.AtShutdown(t.Context()); err == nil || len(got) != 1 {
		t.Errorf("afterwards: %+v, %v", got, err)
	}
}

// A guest that starts while the manager is asked is noted by the time at which the manager has it.
func TestNotesFollowTheForecast(t *testing.T) {
	o := &oracle{said: []hbplugin.Verdict{{Resource: "web", Fate: hbplugin.MovesLive, To: "n2"}},
		claims: []hbplugin.Claim{{Resource: "web"}}}
	p := predictorOf(o)
	p.from.Notes = func() ([]notes.Guest, error) {
		if o.count() == 0 {
			return nil, nil
		}
		return []notes.Guest{{Resource: "web", Guest: "web"}}, nil
	}
	got, err := p.Predict(t.Context(), []hbplugin.Cluster{o})
	if err != nil || len(got) != 1 || got[0].Fate == hbplugin.Unknown {
		t.Errorf("%+v, %v", got, err)
	}
}

// Of a guest that another agent runs the manager's word is known, and no more.
func TestAskOfAnotherAgent(t *testing.T) {
	o := &oracle{
		said: []hbplugin.Verdict{
			{Resource: "vd", Fate: hbplugin.MovesLive, To: "n2"}, {Resource: "web", Fate: hbplugin.MovesLive, To: "n2"},
		},
		claims: []hbplugin.Claim{
			{Resource: "vd", Agent: "ocf:heartbeat:VirtualDomain"}, {Resource: "web", Agent: hbplugin.OwnAgent},
		},
	}
	got, err := predictorOf(o).Predict(t.Context(), []hbplugin.Cluster{o})
	if err != nil || len(got) != 2 || got[0].Fate != hbplugin.MovesLive || got[1].Fate != hbplugin.Unknown {
		t.Errorf("%+v, %v", got, err)
	}
}

// A guest without a resource is nobody's to move; one that just comes or goes is somebody's.
func TestAskNamesTheDeleted(t *testing.T) {
	o := &oracle{view: hbplugin.View{Running: true}, said: allLive("web"),
		claims: []hbplugin.Claim{{Resource: "web"}, {Resource: "comes"}}}
	p := predictorOf(o)
	p.from.Notes = func() ([]notes.Guest, error) { return []notes.Guest{{Resource: "old", Guest: "Old 1"}}, nil }
	p.from.Here = func(context.Context) ([]string, error) { return []string{"comes", "old", "web"}, nil }
	got, err := p.Predict(t.Context(), []hbplugin.Cluster{o})
	want := hbplugin.Verdict{Resource: "old", Fate: hbplugin.Stays, Why: "its resource was deleted while it ran",
		Remedy: "before the node goes down, type: vmferry migrate 'Old 1' NODE"}
	if err != nil || len(got) != 2 || !reflect.DeepEqual(got[1], want) {
		t.Errorf("%+v, %v", got, err)
	}
}

// Where no cluster manager runs there is nothing to predict, and the drain says so itself.
func TestAtShutdownWithoutAManager(t *testing.T) {
	if got, err := predictorOf(&oracle{}).AtShutdown(t.Context()); got != nil || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

// mute is a cluster manager that tells nothing beforehand.
type mute struct{ hbplugin.Cluster }

func (mute) String() string                                       { return "mute" }
func (mute) Resources(context.Context) ([]hbplugin.Claim, error)  { return nil, errMute }
func (mute) Forecast(context.Context) ([]hbplugin.Verdict, error) { return nil, errMute }
func (mute) Places(context.Context) (hbplugin.Places, error)      { return hbplugin.Places{}, errMute }
func (mute) View(context.Context) (hbplugin.View, error) {
	return hbplugin.View{Running: true}, nil
}

var errMute = errors.New("it does not tell")

func TestClaimsAreAllOrNone(t *testing.T) {
	one := &oracle{view: hbplugin.View{Running: true}, claims: []hbplugin.Claim{{Resource: "a"}}}
	two := &oracle{view: hbplugin.View{Running: true}, claims: []hbplugin.Claim{{Resource: "b"}}}
	got, err := predictorOf(one, two).Claims(t.Context())
	if err != nil || len(got) != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	two.err = errors.New("cibadmin: no answer")
	for name, p := range map[string]*Predictor{
		"one does not answer": predictorOf(one, two), "one cannot tell": predictorOf(one, mute{}),
		"none runs": predictorOf(&oracle{}),
	} {
		if got, err := p.Claims(t.Context()); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestRecordsOf(t *testing.T) {
	since := time.Unix(1000, 0)
	at := func(s int64, guest, uuid string) record.Record {
		return record.Record{Guest: guest, UUID: uuid, Started: time.Unix(s-50, 0), Ended: time.Unix(s, 0)}
	}
	records := []record.Record{at(999, "db", "AA"), at(1000, "db", "aa"), at(1001, "DB2", "aa"), at(1002, "db", ""),
		at(1003, "db", "bb"), at(1004, "r", "cc")}
	for _, tt := range []struct {
		name string
		note notes.Guest
		want string
	}{
		{"by UUID, of its own time", notes.Guest{Guest: "db", UUID: "aa"}, "db DB2 db"},
		{"by name where nobody knows the UUID", notes.Guest{Guest: "db"}, "db db db"},
		{"by the resource's name without a note", notes.Guest{}, "r"},
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
	p := predictorOf(mute{})
	p.from.Notes = func() ([]notes.Guest, error) {
		return []notes.Guest{{Resource: "rsc", Guest: "Web 1", UUID: "aa"}}, nil
	}
	now := time.Now()
	p.from.Records = func() ([]record.Record, error) {
		return []record.Record{{Guest: "Web 1", UUID: "aa", Outcome: record.Moved, Ended: now.Add(time.Second)}}, nil
	}
	if _, err := p.AtShutdown(t.Context()); err == nil {
		t.Error("a mute manager has told something")
	}
	p.from.Notes = func() ([]notes.Guest, error) { return nil, nil }
	got := p.Trace(t.Context(), []string{"rsc", "other"}, now)
	if len(got["rsc"].Records) != 1 || len(got["other"].Records) != 0 || got["rsc"].Lost == nil {
		t.Errorf("%+v", got)
	}
}

// Where each guest is now is the manager's word, and so is this node's name.
func TestTracePlaces(t *testing.T) {
	o := &oracle{view: hbplugin.View{Running: true},
		places: hbplugin.Places{Node: "n1", On: map[string][]string{"web": {"n2"}}}}
	p := predictorOf(o)
	got := p.Trace(t.Context(), []string{"web", "db"}, time.Now())
	if web := got["web"]; web.Lost != nil || web.Node != "n1" || !reflect.DeepEqual(web.Nodes, []string{"n2"}) {
		t.Errorf("web: %+v", web)
	}
	if db := got["db"]; db.Lost != nil || len(db.Nodes) != 0 {
		t.Errorf("db: %+v", db)
	}
	o.set(func(o *oracle) { o.err = errors.New("a status that was cut short") })
	if got := p.Trace(t.Context(), []string{"web"}, time.Now())["web"]; got.Lost == nil {
		t.Errorf("no answer: %+v", got)
	}
	if got := predictorOf(mute{}, &oracle{view: o.view, places: o.places}).Trace(t.Context(), []string{"web"},
		time.Now())["web"]; got.Lost != nil {
		t.Errorf("one of two knows: %+v", got)
	}
}
