package torture

import (
	"testing"
	"time"

	"github.com/vmferry/vmferry/lab/guest"
	"github.com/vmferry/vmferry/lab/guest/ledger"
)

func TestBound(t *testing.T) {
	begin := time.Unix(1000, 0)
	silence := func(from, to float64) ledger.Silence {
		at := func(s float64) time.Time { return begin.Add(time.Duration(s * float64(time.Second))) }
		return ledger.Silence{From: at(from), To: at(to)}
	}
	b := bound{begin, 10 * time.Second, 3 * time.Second}
	for _, test := range []struct {
		name     string
		silences []ledger.Silence
		took     time.Duration
		over     bool
	}{
		{"none", nil, 0, false},
		{"in time", []ledger.Silence{silence(-0.1, 9)}, 9 * time.Second, false},
		{"late", []ledger.Silence{silence(-0.1, 11)}, 11 * time.Second, true},
		{"back, and gone again", []ledger.Silence{silence(0, 4), silence(6, 12)}, 12 * time.Second, true},
		{"it returns to its home", []ledger.Silence{silence(0, 8), silence(25, 27)}, 8 * time.Second, false},
		{"a second outage long after", []ledger.Silence{silence(0, 8), silence(25, 29)}, 29 * time.Second, true},
		{"a live move that ends late", []ledger.Silence{silence(9, 11)}, 11 * time.Second, false},
		{"not over yet", []ledger.Silence{{From: begin}}, 0, false},
	} {
		if got := b.recovery(test.silences); got != test.took {
			t.Errorf("%s: it took %s, want %s", test.name, got, test.took)
		}
		if over := len(b.check("vm1", test.silences)) > 0; over != test.over {
			t.Errorf("%s: over the bound: %t", test.name, over)
		}
	}
}

func TestCheckStatus(t *testing.T) {
	was := guest.Status{BootID: "a", Counter: 10, ForeignWrites: 1}
	for _, test := range []struct {
		name string
		now  guest.Status
		want string
	}{
		{"it goes on", guest.Status{BootID: "a", Counter: 10, ForeignWrites: 1}, ""},
		{"another boot", guest.Status{BootID: "b", Counter: 12}, ""},
		{"the counter went back", guest.Status{BootID: "b", Counter: 9}, AckedLost},
		{"a foreign write", guest.Status{BootID: "a", Counter: 11, ForeignWrites: 2}, DoubleRun},
		{"a foreign write in a new boot", guest.Status{BootID: "b", Counter: 11, ForeignWrites: 1}, DoubleRun},
	} {
		found := checkStatus("vm1", was, test.now)
		if (len(found) > 0) != (test.want != "") || len(found) > 0 && found[0].What != test.want {
			t.Errorf("%s: %+v", test.name, found)
		}
	}
}

func TestCheckBystanders(t *testing.T) {
	was := map[string]Process{"node1": {10, 1}, "node2": {20, 1}}
	for _, test := range []struct {
		name    string
		episode []Fault
		now     map[string]Process
		killed  int
	}{
		{"alive", []Fault{{Kind: Hang, Node: "node1"}}, was, 0},
		{"gone", []Fault{{Kind: Hang, Node: "node1"}}, map[string]Process{"node2": {20, 1}}, 1},
		{"another of the same number", []Fault{{Kind: CutLink, Node: "node1"}},
			map[string]Process{"node1": {10, 2}, "node2": {20, 1}}, 1},
		{"its node crashed", []Fault{{Kind: Crash, Node: "node1"}}, map[string]Process{"node2": {20, 1}}, 0},
		{"its node was rebooted", []Fault{{Kind: Move, Node: "node2"}, {Kind: Reboot, Node: "node1"}},
			map[string]Process{"node2": {20, 1}}, 0},
		{"the other one crashed", []Fault{{Kind: Crash, Node: "node2"}}, map[string]Process{}, 1},
	} {
		if got := checkBystanders(test.episode, was, test.now); len(got) != test.killed {
			t.Errorf("%s: %+v", test.name, got)
		}
	}
}
