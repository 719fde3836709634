package resource

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/notes"
)

func TestQuestions(t *testing.T) {
	up, left, lost, fenced := PeerUp, PeerDown, PeerUnknown, PeerFenced
	r := func(states ...PeerState) roster {
		r := roster{known: true}
		for i, s := range states {
			r.peers = append(r.peers, Peer{"node" + string(rune('2'+i)), s})
		}
		return r
	}
	for _, c := range []struct {
		name string
		r    roster
		peer string // of the note
		want string
	}{
		{"all members", r(up, up), "", "node2 node3"},
		{"no manager", roster{}, "", ""},
		{"no manager, but a note", roster{}, "node2", "node2!"},
		{"a fenced one", r(fenced, up), "", "node3"},
		{"a fenced one in the note", r(fenced, up), "node2", "node3"},
		{"one that crashed", r(lost), "", "node2"},
		{"one that left", r(left), "", "node2-"},
		{"one that left, in the note", r(left), "node2", "node2-"},
		{"one that crashed, in the note", r(lost, up), "node2", "node2! node3"},
		{"a note in other letters", r(up), "NODE2", "node2!"},
		{"taken out of the cluster", r(up), "node9", "node2 node9-"},
		{"own name", roster{known: true, peers: []Peer{{"Node1", up}}}, "", ""},
		{"may not run it", roster{known: true, peers: r(up, up).peers, limited: true, runnable: []string{"node3"}}, "", "node3"},
		{"may not run it, in the note", roster{known: true, peers: r(up, up).peers, limited: true, runnable: []string{"node3"}}, "node2", "node2! node3"},
		{"nobody may", roster{known: true, peers: r(up, up).peers, limited: true}, "", ""},
	} {
		var got []string
		for _, q := range questions("node1", c.r, notes.Intent{Peer: c.peer}, c.peer != "") {
			mark := ""
			if q.must {
				mark = "!"
			}
			if q.left {
				mark += "-"
			}
			got = append(got, q.node+mark)
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: asks %q, want %q", c.name, s, c.want)
		}
	}
}

// Each state and reason that libvirt has is one of the words; the rows are what a start in a cluster of three does.
func TestWords(t *testing.T) {
	names := map[word]string{hasNot: "gone", unsettled: "wait", runsThere: "runs", holdsIt: "holds"}
	got := map[string][]string{}
	for s := libvirt.NoState; s <= libvirt.PMSuspended; s++ {
		for n := range 16 {
			reason := libvirt.ReasonWord(s, n)
			status := s.String() + "/" + reason
			w := names[wordOf(libvirt.Status{State: s, Reason: reason})]
			if !slices.Contains(got[w], status) {
				got[w] = append(got[w], status)
			}
		}
	}
	want := map[string][]string{
		"gone": {"shut off/unknown", "shut off/shutdown", "shut off/destroyed", "shut off/crashed", "shut off/migrated", "shut off/saved",
			"shut off/failed", "shut off/from-snapshot", "shut off/daemon"},
		"wait": {"no state/unknown", "running/postcopy", "paused/migration", "paused/save", "paused/dump", "paused/from-snapshot",
			"paused/shutting-down", "paused/snapshot", "paused/starting-up", "paused/postcopy", "shutting down/unknown", "shutting down/user"},
		"runs": {"running/unknown", "running/booted", "running/migrated", "running/restored", "running/from-snapshot", "running/unpaused",
			"running/migration-canceled", "running/save-canceled", "running/wakeup", "running/crashed", "blocked/unknown"},
		"holds": {"running/postcopy-failed", "paused/unknown", "paused/user", "paused/ioerror", "paused/watchdog", "paused/crashed",
			"paused/postcopy-failed", "paused/api-error", "crashed/unknown", "crashed/panicked", "suspended/unknown"},
	}
	for w, all := range want {
		slices.Sort(all)
		slices.Sort(got[w])
		if !slices.Equal(got[w], all) {
			t.Errorf("%s: %q, want %q", w, got[w], all)
		}
	}
	if w := wordOf(libvirt.Status{State: 99}); w != holdsIt {
		t.Errorf("a state that is newer than this agent is %v", w)
	}
}

func TestDecide(t *testing.T) {
	for _, c := range []struct {
		name    string
		said    []word
		fetches bool
		want    course
		by      int
	}{
		{"nobody was asked", nil, false, goAhead, -1},
		{"nobody has it", []word{hasNot, hasNot}, true, goAhead, -1},
		{"left over, its source fenced", []word{unsettled}, false, holdOn, 0},
		{"left over, its source alive and empty", []word{hasNot, unsettled}, false, holdOn, 1},
		{"handed over, paused on both", []word{unsettled, unsettled}, false, holdOn, 0},
		{"arriving, its source runs it", []word{runsThere, unsettled}, false, giveBack, 0},
		{"arriving elsewhere, would be fetched", []word{runsThere, unsettled}, true, holdOn, 0},
		{"left over, its source must tell", []word{mustTell, unsettled}, false, holdOn, 0},
		{"must tell", []word{hasNot, mustTell}, true, giveBack, 1},
		{"runs there", []word{runsThere, hasNot}, false, giveBack, 0},
		{"runs there, is fetched", []word{hasNot, runsThere}, true, bringIt, 1},
		{"runs there, another must tell", []word{mustTell, runsThere}, true, giveBack, 1},
		{"runs on two", []word{runsThere, runsThere}, true, giveBack, 0},
		{"paused there", []word{holdsIt}, true, giveBack, 0},
		{"paused there, arriving elsewhere", []word{holdsIt, unsettled}, true, giveBack, 0},
	} {
		var all []heard
		for i, w := range c.said {
			all = append(all, heard{question: question{node: string(rune('a' + i))}, word: w})
		}
		got, by := decide(all, func(string) bool { return c.fetches })
		if got != c.want || c.by >= 0 && by.node != all[c.by].node {
			t.Errorf("%s: %v by %q, want %v", c.name, got, by.node, c.want)
		}
	}
}

func TestCensus(t *testing.T) {
	const uri = "qemu+tcp://node2/system"
	var now time.Duration
	asked, limits := 0, time.Duration(0)
	var answer error
	c := census{notes.Open(t.TempDir(), ""), func() time.Duration { return now }}
	list := func(ctx context.Context, _ string) ([]libvirt.Resident, error) {
		asked++
		deadline, _ := ctx.Deadline()
		limits = time.Until(deadline).Round(100 * time.Millisecond)
		return []libvirt.Resident{{Name: "vm1", UUID: guestUUID}}, answer
	}
	refused, mute := errors.New("connection refused"), context.DeadlineExceeded
	for _, s := range []struct {
		name   string
		at     time.Duration // the uptime
		since  time.Duration // when the start began to look
		answer error
		asks   bool
		limit  time.Duration
		fails  bool
	}{
		{"first", 10 * time.Second, 10 * time.Second, nil, true, peerTime, false},
		{"began before that question", 11 * time.Second, 9 * time.Second, nil, false, 0, false},
		{"began with it", 11 * time.Second, 10 * time.Second, nil, false, 0, false},
		{"began after it", 11 * time.Second, 10*time.Second + 1, nil, true, peerTime, false},
		{"refused", 12 * time.Second, 12 * time.Second, refused, true, peerTime, true},
		{"shares that", 12 * time.Second, 11 * time.Second, nil, false, 0, true},
		{"a refusal costs nothing", 13 * time.Second, 13 * time.Second, nil, true, peerTime, false},
		{"silent", 20 * time.Second, 20 * time.Second, mute, true, peerTime, true},
		{"shares the silence", 22 * time.Second, 20 * time.Second, nil, false, 0, true},
		{"silent still", 22 * time.Second, 22 * time.Second, mute, true, silentTime, true},
		{"answers again", 23 * time.Second, 23 * time.Second, nil, true, silentTime, false},
		{"is trusted again", 24 * time.Second, 24 * time.Second, mute, true, peerTime, true},
		{"short", 53 * time.Second, 53 * time.Second, mute, true, silentTime, true},
		{"and not for longer", 54 * time.Second, 54 * time.Second, mute, true, peerTime, true},
		{"the clock of another boot", 5 * time.Second, 1 * time.Second, nil, true, peerTime, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			before := asked
			now, answer = s.at, s.answer
			guests, err := c.ask(t.Context(), uri, s.since, peerTime, list)
			if (asked > before) != s.asks || (err != nil) != s.fails || err == nil && len(guests) != 1 {
				t.Errorf("%s: asked %v, got %v, %v", s.name, asked > before, guests, err)
			}
			if s.asks && limits != s.limit {
				t.Errorf("%s: gave it %v, want %v", s.name, limits, s.limit)
			}
		})
	}
}

// Many starts at once ask a peer twice at most: the first, and once for all that began while it asked.
func TestCensusOfManyStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		c := census{notes.Open(t.TempDir(), ""), func() time.Duration { return time.Second + time.Since(began) }}
		asked := make(chan bool, 100)
		list := func(ctx context.Context, _ string) ([]libvirt.Resident, error) {
			asked <- true
			return nil, blocked(ctx)
		}
		done := make(chan time.Duration)
		for i := range 20 {
			go func() {
				time.Sleep(time.Duration(i) * 50 * time.Millisecond)
				from := time.Now()
				_, _ = c.ask(t.Context(), "qemu://node2/system", c.uptime(), peerTime, list)
				done <- time.Since(from)
			}()
		}
		for range 20 {
			if took := <-done; took > peerTime+silentTime+time.Second {
				t.Errorf("a start waited %v", took)
			}
		}
		if n := len(asked); n > 2 {
			t.Errorf("20 starts asked %d times", n)
		}
	})
}

// A start that was cut short says nothing of the peer.
func TestCensusForgetsWhatWasCutShort(t *testing.T) {
	c := census{notes.Open(t.TempDir(), ""), notes.Uptime}
	ctx, cancel := context.WithCancel(t.Context())
	since := notes.Uptime()
	_, err := c.ask(ctx, "qemu://node2/system", since, peerTime, func(ctx context.Context, _ string) ([]libvirt.Resident, error) { cancel(); return nil, ctx.Err() })
	if err == nil {
		t.Error("a cancelled question was answered")
	}
	if _, err := c.ask(t.Context(), "qemu://node2/system", since, peerTime, func(context.Context, string) ([]libvirt.Resident, error) { return nil, nil }); err != nil {
		t.Errorf("the next one got %v", err)
	}
}

func paused(reason string) func(*world) {
	return func(w *world) {
		w.target = func(context.Context) (libvirt.Status, error) {
			return libvirt.Status{State: libvirt.Paused, Reason: reason, UUID: guestUUID}, nil
		}
	}
}

// later is what the peer says of the guest from some time on.
func later(after time.Duration, then func(*world)) func(*world) {
	return func(w *world) {
		from, before := time.Now().Add(after), w.target
		then(w)
		now := w.target
		w.target = func(ctx context.Context) (libvirt.Status, error) {
			if time.Now().Before(from) {
				return before(ctx)
			}
			return now(ctx)
		}
	}
}

// The source was fenced in mid-move, and a third node starts the guest: the target has what came so far.
func TestStartWaitsForWhatIsOnItsWay(t *testing.T) {
	gone := func(w *world) {
		w.target = func(context.Context) (libvirt.Status, error) { return libvirt.Status{}, noDomain() }
	}
	never := func(*world) {}
	for _, c := range []struct {
		name   string
		first  func(*world)
		after  time.Duration
		then   func(*world)
		want   ExitCode
		reason string
	}{
		{"tidied up", paused("migration"), 30 * time.Second, gone, Success, ""},
		{"tidied up early", paused("starting-up"), 2 * time.Second, gone, Success, ""},
		{"it had all of it", paused("migration"), 5 * time.Second, at(libvirt.Running, guestUUID), Generic, "it is on node2 already, running"},
		{"it stays", paused("migration"), time.Hour, never, Generic, "a part of it is on node2 still, paused (migration)"},
		{"shuts down there", at(libvirt.ShuttingDown, guestUUID), 20 * time.Second, gone, Success, ""},
		{"paused by somebody", paused("user"), time.Hour, never, Generic, "it is on node2 already, paused (user)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, "start")
				w.agent.Peers = func(context.Context) ([]Peer, error) {
					return []Peer{{"node0", PeerFenced}, {"node2", PeerUp}}, nil
				}
				c.first(w)
				later(c.after, c.then)(w)
				err, took := w.run("start")
				checkExit(t, err, c.want, c.reason)
				if started := slices.Contains(w.calls, "create"); started != (c.want == Success) || took >= defaults["start"] {
					t.Errorf("did %v in %v", w.calls, took)
				}
			})
		})
	}
}

// A move to a peer that was withdrawn while it was under way has the manager start the guest here, although it runs
// there by now.
func TestStartBringsBackWhatHasJustLeft(t *testing.T) {
	departed := func(peer string, ago time.Duration) func(*world) {
		return func(w *world) {
			d := notes.Departure{Guest: "vm1", Peer: peer, At: time.Now().Add(-ago)}
			if err := w.notes().Departures.Save("res1", d); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	noLive := func(w *world) { w.agent.Params.Ladder = nil }
	runs := at(libvirt.Running, guestUUID)
	for _, c := range []struct {
		name   string
		build  []func(*world)
		want   ExitCode
		reason string
		did    []string
	}{
		{"moved there", []func(*world){departed("node2", time.Second), runs}, Success, "", []string{"migrate"}},
		{"the agent was killed", []func(*world){pendingTo(notes.Outward, "node2"), runs}, Success, "", []string{"migrate"}},
		{"a fetch was killed", []func(*world){pendingTo(notes.Inward, "node2"), runs}, Success, "", []string{"migrate"}},
		{"is being handed over", []func(*world){departed("node2", time.Second), paused("migration"), later(3*time.Second, runs)}, Success, "", []string{"migrate"}},
		{"moved there, and gone", []func(*world){departed("node2", time.Second)}, Success, "", []string{"create"}},
		{"moved to another", []func(*world){departed("node3", time.Second), runs}, Generic, "it is on node2 already", nil},
		{"long ago", []func(*world){departed("node2", 10*time.Minute), runs}, Generic, "it is on node2 already", nil},
		{"the clock was set back", []func(*world){departed("node2", -time.Hour), runs}, Generic, "it is on node2 already", nil},
		{"started there by hand", []func(*world){runs}, Generic, "it is on node2 already", nil},
		{"paused there by hand", []func(*world){departed("node2", time.Second), paused("user")}, Generic, "it is on node2 already", nil},
		{"may not be moved live", []func(*world){departed("node2", time.Second), runs, noLive}, Generic, "it is on node2 already", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, "start")
				manager(Peer{"node2", PeerUp})(w)
				var got Move
				w.migrate = func(_ context.Context, m Move) error { got = m; w.is(libvirt.Running, "migrated"); return nil }
				for _, f := range c.build {
					f(w)
				}
				err, _ := w.run("start")
				checkExit(t, err, c.want, c.reason)
				w.did(c.did...)
				if slices.Contains(c.did, "migrate") && (!got.Fetch || got.SourceURI != "qemu://node2/system" || got.TargetURI != "qemu://node1/system" || got.Target != "node1") {
					t.Errorf("moved by %+v", got)
				}
				_, gone := w.notes().Departures.Load("res1")
				if c.want == Success && (w.isPending() || gone == nil) {
					t.Error("a note stays")
				}
			})
		})
	}
}

// migrate_to leaves the note by which a start brings the guest back.
func TestMoveAwayAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "migrate_to")
		w.boot()
		manager(Peer{"node2", PeerUp})(w)
		w.migrate = func(_ context.Context, m Move) error {
			if m.Fetch {
				w.is(libvirt.Running, "migrated")
				return nil
			}
			w.gone()
			at(libvirt.Running, guestUUID)(w)
			return nil
		}
		for _, action := range []string{"migrate_to", "stop", "start"} {
			err, _ := w.run(action)
			checkExit(t, err, Success, "")
		}
		w.did("migrate", "migrate")
	})
}

// It set out for here while the peers were asked.
func TestStartWaitsForWhatSetOutMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "start")
		manager(Peer{"node2", PeerUp})(w)
		at(libvirt.Running, guestUUID)(w)
		says := w.target
		w.target = func(ctx context.Context) (libvirt.Status, error) {
			if !w.there {
				w.is(libvirt.Paused, "starting-up")
				w.procs[0].Incoming = true
				arrives, status := time.Now().Add(8*time.Second), w.status
				w.status = func(ctx context.Context) (libvirt.Status, error) {
					if !time.Now().Before(arrives) {
						w.is(libvirt.Running, "migrated")
					}
					return status(ctx)
				}
			}
			return says(ctx)
		}
		err, took := w.run("start")
		checkExit(t, err, Success, "")
		if w.did(); took < 8*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// What is not proven is a warning, once for each peer; of one that left it is as expected.
func TestDroppedProofIsAWarning(t *testing.T) {
	for _, c := range []struct {
		state PeerState
		want  []string
	}{
		{PeerUp, []string{"node2"}},
		{PeerUnknown, []string{"node2"}},
		{PeerDown, nil},
		{PeerFenced, nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, "start")
			log, hook := test.NewNullLogger()
			w.agent.Log = log
			manager(Peer{"node2", c.state})(w)
			w.target = func(ctx context.Context) (libvirt.Status, error) { return libvirt.Status{}, blocked(ctx) }
			err, _ := w.run("start")
			checkExit(t, err, Success, "")
			var warned []string
			for _, e := range hook.AllEntries() {
				if peer, ok := e.Data["peer"].(string); ok && e.Level == logrus.WarnLevel && strings.Contains(e.Message, "not proven") {
					warned = append(warned, peer)
				}
			}
			if !reflect.DeepEqual(warned, c.want) {
				t.Errorf("state %d: warned of %v, want %v", c.state, warned, c.want)
			}
		})
	}
}

// A migration that a killed agent has left under way would carry the guest off after the start.
func TestStartCallsOffWhatLeaves(t *testing.T) {
	for _, c := range []struct {
		name string
		way  string
		left func(*world) // what becomes of it; the test's bubble has the time
		want []string
	}{
		{"it stays", notes.Outward, func(w *world) { w.abort = func(context.Context) error { return nil } }, []string{"abort"}},
		{"no job is under way", notes.Outward, nil, []string{"abort"}},
		{"it came from there", notes.Inward, nil, nil},
		{"it won the race", notes.Outward, func(w *world) {
			w.abort = func(context.Context) error { w.gone(); at(libvirt.Running, guestUUID)(w); return noDomain() }
		}, []string{"abort", "migrate"}},
		{"post-copy", notes.Outward, func(w *world) {
			w.is(libvirt.Paused, "postcopy")
			ends, status := time.Now().Add(5*time.Second), w.status
			w.status = func(ctx context.Context) (libvirt.Status, error) {
				if w.there && w.state.Reason == "postcopy" && !time.Now().Before(ends) {
					w.gone()
					at(libvirt.Running, guestUUID)(w)
				}
				return status(ctx)
			}
		}, []string{"abort", "migrate"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, "start")
				w.boot()
				manager(Peer{"node2", PeerUp})(w)
				pendingTo(c.way, "node2")(w)
				w.migrate = func(context.Context, Move) error { w.is(libvirt.Running, "migrated"); return nil }
				if c.left != nil {
					c.left(w)
				}
				err, _ := w.run("start")
				checkExit(t, err, Success, "")
				w.did(c.want...)
			})
		})
	}
}

// A start that was killed while it brought the guest here left a migration of which nobody sees to the end.
func TestStartGoesOnWithAFetch(t *testing.T) {
	for _, c := range []struct {
		name string
		way  string
		want ExitCode
		did  []string
	}{
		{"a fetch", notes.Inward, Success, []string{"migrate"}},
		{"no note of it", "", Generic, nil},
		{"it had left from here", notes.Outward, Generic, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, "start")
				manager(Peer{"node2", PeerUp})(w)
				at(libvirt.Running, guestUUID)(w)
				if c.way != "" {
					pendingTo(c.way, "node2")(w)
				}
				w.is(libvirt.Paused, "migration")
				w.procs[0].Incoming = true
				var got Move
				w.migrate = func(_ context.Context, m Move) error { got = m; w.is(libvirt.Running, "migrated"); return nil }
				err, _ := w.run("start")
				checkExit(t, err, c.want, "")
				w.did(c.did...)
				if c.want == Success && (!got.Adopt || !got.Fetch || got.SourceURI != "qemu://node2/system" || got.UUID != guestUUID) {
					t.Errorf("moved by %+v", got)
				}
			})
		})
	}
}

// The source of such a fetch was fenced, or does not have the guest any more: libvirt here drops what came so far once
// its connection is broken, and then the guest runs nowhere.
func TestStartOutlastsADeadFetch(t *testing.T) {
	for _, c := range []struct {
		name string
		peer PeerState
	}{{"fenced", PeerFenced}, {"let go of it", PeerUp}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, "start")
				manager(Peer{"node2", c.peer})(w)
				pendingTo(notes.Inward, "node2")(w)
				w.is(libvirt.Paused, "migration")
				w.procs[0].Incoming = true
				w.migrate = func(context.Context, Move) error { return dead() }
				ends, status := time.Now().Add(30*time.Second), w.status
				w.status = func(ctx context.Context) (libvirt.Status, error) {
					if w.there && w.state.Reason == "migration" && !time.Now().Before(ends) {
						w.gone()
					}
					return status(ctx)
				}
				err, took := w.run("start")
				checkExit(t, err, Success, "")
				w.did("create")
				if took > 35*time.Second {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}
