package elsewhere

import (
	"slices"
	"strings"
	"testing"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

func TestQuestions(t *testing.T) {
	up, left, lost, fenced := PeerUp, PeerDown, PeerUnknown, PeerFenced
	r := func(states ...PeerState) Members {
		r := Members{Known: true}
		for i, s := range states {
			r.Peers = append(r.Peers, Peer{"node" + string(rune('2'+i)), s})
		}
		return r
	}
	for _, c := range []struct {
		name string
		r    Members
		peer string // of the note
		want string
	}{
		{"all members", r(up, up), "", "node2 node3"},
		{"no manager", Members{}, "", ""},
		{"no manager, but a note", Members{}, "node2", "node2!"},
		{"a fenced one", r(fenced, up), "", "node3"},
		{"a fenced one in the note", r(fenced, up), "node2", "node3"},
		{"one that crashed", r(lost), "", "node2"},
		{"one that left", r(left), "", "node2-"},
		{"one that left, in the note", r(left), "node2", "node2-"},
		{"one that crashed, in the note", r(lost, up), "node2", "node2! node3"},
		{"a note in other letters", r(up), "NODE2", "node2!"},
		{"taken out of the cluster", r(up), "node9", "node2 node9-"},
		{"own name", Members{Known: true, Peers: []Peer{{"Node1", up}}}, "", ""},
		{"may not run it", Members{Known: true, Peers: r(up, up).Peers, Limited: true, Runnable: []string{"node3"}}, "", "node3"},
		{"may not run it, in the note",
			Members{Known: true, Peers: r(up, up).Peers, Limited: true, Runnable: []string{"node3"}}, "node2",
			"node2! node3"},
		{"nobody may", Members{Known: true, Peers: r(up, up).Peers, Limited: true}, "", ""},
	} {
		var got []string
		for _, q := range Questions("node1", c.r, c.peer) {
			mark := ""
			if q.Must {
				mark = "!"
			}
			if q.Left {
				mark += "-"
			}
			got = append(got, q.Node+mark)
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: asks %q, want %q", c.name, s, c.want)
		}
	}
}

// Each state and reason that libvirt has is a Presence; the rows are what a start in a cluster of three does.
func TestPresences(t *testing.T) {
	names := map[Presence]string{Nothing: "gone", Moving: "wait", Running: "runs", Held: "holds"}
	got := map[string][]string{}
	for s := libvirt.NoState; s <= libvirt.PMSuspended; s++ {
		for n := range 16 {
			reason := libvirt.ReasonWord(s, n)
			status := s.String() + "/" + reason
			w := names[presenceOf(libvirt.Status{State: s, Reason: reason})]
			if !slices.Contains(got[w], status) {
				got[w] = append(got[w], status)
			}
		}
	}
	want := map[string][]string{
		"gone": {"shut off/unknown", "shut off/shutdown", "shut off/destroyed", "shut off/crashed", "shut off/migrated",
			"shut off/saved",
			"shut off/failed", "shut off/from-snapshot", "shut off/daemon"},
		"wait": {"no state/unknown", "running/postcopy", "paused/migration", "paused/save", "paused/dump", "paused/from-snapshot",
			"paused/shutting-down", "paused/snapshot", "paused/starting-up", "paused/postcopy", "shutting down/unknown",
			"shutting down/user"},
		"runs": {"running/unknown", "running/booted", "running/migrated", "running/restored", "running/from-snapshot",
			"running/unpaused",
			"running/migration-canceled", "running/save-canceled", "running/wakeup", "running/crashed", "blocked/unknown"},
		"holds": {"running/postcopy-failed", "paused/unknown", "paused/user", "paused/ioerror", "paused/watchdog",
			"paused/crashed",
			"paused/postcopy-failed", "paused/api-error", "crashed/unknown", "crashed/panicked", "suspended/unknown"},
	}
	for w, all := range want {
		slices.Sort(all)
		slices.Sort(got[w])
		if !slices.Equal(got[w], all) {
			t.Errorf("%s: %q, want %q", w, got[w], all)
		}
	}
	if w := presenceOf(libvirt.Status{State: 99}); w != Held {
		t.Errorf("a state that is newer than this agent is %v", w)
	}
}

func TestDecide(t *testing.T) {
	for _, c := range []struct {
		name    string
		said    []Presence
		fetches bool
		want    Decision
		by      int
	}{
		{"nobody was asked", nil, false, Start, -1},
		{"nobody has it", []Presence{Nothing, Nothing}, true, Start, -1},
		{"left over, its source fenced", []Presence{Moving}, false, Wait, 0},
		{"left over, its source alive and empty", []Presence{Nothing, Moving}, false, Wait, 1},
		{"handed over, paused on both", []Presence{Moving, Moving}, false, Wait, 0},
		{"arriving, its source runs it", []Presence{Running, Moving}, false, Refuse, 0},
		{"arriving elsewhere, would be fetched", []Presence{Running, Moving}, true, Wait, 0},
		{"left over, its source must tell", []Presence{Unanswered, Moving}, false, Wait, 0},
		{"must tell", []Presence{Nothing, Unanswered}, true, Refuse, 1},
		{"runs there", []Presence{Running, Nothing}, false, Refuse, 0},
		{"runs there, is fetched", []Presence{Nothing, Running}, true, Fetch, 1},
		{"runs there, another must tell", []Presence{Unanswered, Running}, true, Refuse, 1},
		{"runs on two", []Presence{Running, Running}, true, Refuse, 0},
		{"paused there", []Presence{Held}, true, Refuse, 0},
		{"paused there, arriving elsewhere", []Presence{Held, Moving}, true, Refuse, 0},
	} {
		var all []Answer
		for i, w := range c.said {
			all = append(all, Answer{Question: Question{Node: string(rune('a' + i))}, Presence: w})
		}
		got, by := Decide(all, func(string) bool { return c.fetches })
		if got != c.want || c.by >= 0 && by.Node != all[c.by].Node {
			t.Errorf("%s: %v by %q, want %v", c.name, got, by.Node, c.want)
		}
	}
}
