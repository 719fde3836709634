package shutdown

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/verdict"
	"github.com/vmferry/vmferry/migrate/record"
)

// teller is a node whose guest db will not move live.
func teller() *fake {
	return &fake{
		guests: []string{"db", "web"}, leave: 5 * time.Second, tells: true,
		said: []hbplugin.Verdict{
			{Resource: "db", Fate: hbplugin.Restarts, To: "n2", Why: "its ladder does not name live",
				Remedy: "type: crm configure edit db"},
			{Resource: "web", Fate: hbplugin.MovesLive, To: "n2"},
		},
		trace: map[string]verdict.Trace{
			"db":  {Node: "n1", Nodes: []string{"n2"}, Records: []record.Record{{Outcome: record.Ended}}},
			"web": {Node: "n1", Nodes: []string{"n2"}, Records: []record.Record{{Outcome: record.Moved}}},
		},
	}
}

const accounted = "released: no guest is left on this node; 1 moved live, db was stopped and started again on n2 (its ladder does not name live)"

// Who will not move live is named before standby is set, and who was not afterwards.
func TestGuestsAreNamed(t *testing.T) {
	node := teller()
	node.saying = 1500 * time.Millisecond
	run(t, node, func(b *bench) {
		b.say(true)
		b.after(time.Second)
		b.wantCalls("predict")
		b.wantStatus("draining: asking what becomes of the guests; 2 of 2 guests left (db, web), 1 s of 598 s")
		b.after(time.Second)
		b.wantCalls("predict standby")
		b.wantStatus("draining: 2 of 2 guests left (db, web), 2 s of 598 s; will not move live: db")
		before := "guest db will not move live: it is restarted on n2 because its ladder does not name live"
		if log := b.logged(); !strings.Contains(log, before) ||
			strings.Index(log, before) > strings.Index(log, "being put into standby") ||
			!strings.Contains(log, "remedy=\"type: crm configure edit db\"") || strings.Contains(log, "guest web") {
			t.Errorf("the log before the drain:\n%s", log)
		}
		b.after(12 * time.Second)
		b.released(11 * time.Second)
		b.wantStatus(accounted)
		if log := b.logged(); !strings.Contains(log, "guest db was stopped and started again on n2") ||
			strings.Contains(log, "guest web") {
			t.Errorf("the log after the drain:\n%s", log)
		}
		if !slices.Equal(node.traced, []string{"db", "web"}) || node.since.Sub(b.start) != 0 {
			t.Errorf("traced %q since %v", node.traced, node.since)
		}
	})
}

// A guest of which nobody can tell is not said to stop.
func TestUntoldIsNotStopped(t *testing.T) {
	node := teller()
	node.said = []hbplugin.Verdict{{Resource: "db", Fate: hbplugin.Unknown, To: "n2",
		Why: "node n2 was not examined: no answer"}}
	run(t, node, func(b *bench) {
		b.say(true)
		b.after(2 * time.Second)
		b.wantStatus("draining: 2 of 2 guests left (db, web), 2 s of 598 s")
		want := "guest db: cannot tell whether it will move live (node n2 was not examined: no answer)"
		if log := b.logged(); !strings.Contains(log, want) || strings.Contains(log, "will not move live") {
			t.Errorf("the log:\n%s", log)
		}
	})
}

// A drain is not held for an answer that does not come, and continues without.
func TestPredictTakesTooLong(t *testing.T) {
	node := teller()
	node.saying = time.Minute
	run(t, node, func(b *bench) {
		b.say(true)
		b.after(predictTime - time.Second/2)
		b.wantCalls("predict")
		b.after(time.Second)
		b.wantCalls("predict standby")
		b.after(15 * time.Second)
		b.released(predictTime + 10*time.Second)
		b.after(time.Minute) // the answer comes, and nobody wants it any more
		b.wantStatus("released: no guest is left on this node; 1 moved live, db was stopped and started again on n2")
	})
}

// What was said for a shutdown that was called off is not taken for the next one.
func TestPredictIsOfOneDrain(t *testing.T) {
	node := teller()
	node.saying = 2 * time.Second
	run(t, node, func(b *bench) {
		b.say(true)
		b.after(time.Second)
		b.say(false)
		node.set(func(f *fake) { f.said = nil })
		b.after(500 * time.Millisecond)
		b.say(true)
		b.after(time.Second)
		b.wantStatus("draining: asking what becomes of the guests; 2 of 2 guests left (db, web), 1 s of 598 s")
	})
}

// systemd stops the daemon as soon as the shutdown continues: who was not moved live is named all the same.
func TestAccountBeforeTheEnd(t *testing.T) {
	node := teller()
	node.stopping = true
	run(t, node, func(b *bench) {
		b.loop.Stop()
		b.after(12 * time.Second)
		if !b.ended() {
			t.Fatal("the guests have gone and the loop stays")
		}
		b.wantStatus(accounted)
	})
}

// A guest that nobody claims is named and does not hold the shutdown; one of which that cannot be told does.
func TestDeletedResource(t *testing.T) {
	for _, tt := range []struct {
		name   string
		claims []hbplugin.Claim
		err    error
		let    bool // it is let go
	}{
		{"deleted", []hbplugin.Claim{{Resource: "web"}}, nil, true},
		{"the last resource was deleted", nil, nil, true},
		{"claimed", []hbplugin.Claim{{Resource: "old"}}, nil, false},
		{"cannot tell", nil, errors.New("cibadmin: no answer"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			node := &fake{guests: []string{"web"}, leave: 5 * time.Second, extra: []string{"old", "web"}, tells: true,
				claims: tt.claims, denied: tt.err}
			run(t, node, func(b *bench) {
				b.say(true)
				b.after(4 * time.Second)
				b.holds()
				node.set(func(f *fake) { f.extra = []string{"old"} })
				b.after(time.Minute)
				if !tt.let {
					b.holds()
					return
				}
				b.released(5 * time.Second)
				b.wantStatus("released: what is left will not move: old: no longer a resource of the cluster; " +
					"old is still here (no longer a resource of the cluster), web has an unknown fate (nothing is known of it)")
			})
		})
	}
}

func TestOutlook(t *testing.T) {
	run(t, &fake{}, func(b *bench) {
		const plain = "watching: a shutdown will wait up to 598 s for guests to leave"
		for _, line := range []string{"1 of 2 guests would not move live", ""} {
			if err := b.loop.Outlook(b.t.Context(), line); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			b.wantStatus(strings.TrimSuffix(plain+"; "+line, "; "))
		}
		b.loop.Stop()
		b.ended()
		if err := b.loop.Outlook(context.Background(), "x"); err == nil {
			t.Error("an outlook was taken by nobody")
		}
	})
}
