package bench

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/lab/scenario"
	"github.com/vmferry/vmferry/migrate/blackout"
)

func TestTurns(t *testing.T) {
	for _, c := range []struct {
		warm bool
		want string
	}{
		{false, "0V 0P 1P 1V 2V 2P"},
		{true, "-1V -1P 0P 0V 1V 1P 2P 2V"},
	} {
		var got []string
		err := turns(sides, 3, c.warm, func(round int, who side) error {
			word := map[bool]string{true: "V", false: "P"}[who.ours]
			got = append(got, map[int]string{-1: "-1", 0: "0", 1: "1", 2: "2"}[round]+word)
			return nil
		})
		if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("warm %v: %q, %v; want %q", c.warm, got, err, c.want)
		}
	}
	stop := errors.New("stop")
	count := 0
	if err := turns(sides, 3, false, func(int, side) error { count++; return stop }); err != stop || count != 1 {
		t.Errorf("%v after %d turns", err, count)
	}
}

// Over two rounds each side moves once in each direction, as each move goes to the other node.
func TestTurnsAreFairToDirections(t *testing.T) {
	at, from := 0, map[bool][2]int{}
	_ = turns(sides, 2, false, func(_ int, who side) error {
		n := from[who.ours]
		n[at]++
		from[who.ours], at = n, 1-at
		return nil
	})
	if even := [2]int{1, 1}; from[true] != even || from[false] != even {
		t.Errorf("moves from each node: %v", from)
	}
}

func TestEnding(t *testing.T) {
	for _, c := range []struct {
		name            string
		moved, sameBoot bool
		code            int
		want            string
	}{
		{"moved", true, true, 0, endedLive},
		{"moved, and said otherwise", true, true, 1, endedLive},
		{"booted again over there", true, false, 0, endedRestarted},
		{"booted again here", false, false, 1, endedRestarted},
		{"refused", false, true, 1, endedFailed},
		{"no time left", false, true, timedOut, endedCutOff},
	} {
		if got := ending(c.moved, c.sameBoot, c.code); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestExitCode(t *testing.T) {
	failed := exec.Command("/bin/sh", "-c", "exit 124").Run()
	for want, err := range map[int]error{0: nil, 124: failed, -1: context.Canceled} {
		if got := exitCode(err); got != want {
			t.Errorf("%v: %d, want %d", err, got, want)
		}
	}
}

func TestMovesResult(t *testing.T) {
	udp := func(x float64) *float64 { return &x }
	var m moves
	m.add(sides[0], move{Ended: endedLive, UDP: udp(40)})
	m.add(sides[0], move{Ended: endedRestarted})
	m.add(sides[1], move{Ended: endedCutOff, Took: 1000}) // has no blackout: must not be asked for it
	m.add(sides[1], move{Ended: endedLive, UDP: udp(80)})
	m.add(sides[1], move{Ended: endedLive, UDP: udp(100)})
	r := m.result("busy-blackout-udp", "ms", udpOf)
	if r.N != 1 || r.Ours.P50 != 40 || r.Peer.N != 2 || r.Peer.Max != 100 || *r.RatioP50 != 0.5 {
		t.Errorf("%+v", r)
	}
	if r.OursEnded.String() != "1 live, 1 restarted" || r.PeerEnded.String() != "2 live, 1 out of time, stayed" {
		t.Errorf("ended %v and %v", r.OursEnded, r.PeerEnded)
	}
}

func TestSee(t *testing.T) {
	var m move
	m.see(scenario.Seen{
		ICMP: &blackout.Target{BelowErrorMs: 2}, UDP: &blackout.Target{BlackoutMs: 3, BelowErrorMs: 1},
		TCP: &blackout.Target{BlackoutMs: 7, KernelBlackoutMs: new(0.0), KernelBelowErrorMs: 5},
	})
	if *m.ICMP != 2 || *m.Acks != 5 || *m.UDP != 3 || *m.TCP != 7 {
		t.Errorf("%v, %v, %v, %v", *m.ICMP, *m.Acks, *m.UDP, *m.TCP)
	}
	var none move
	none.see(scenario.Seen{TCP: &blackout.Target{BlackoutMs: 7}})
	if none.ICMP != nil || none.Acks != nil || none.UDP != nil || *none.TCP != 7 {
		t.Errorf("%+v", none)
	}
}

// What a stopped guest's gaps are longer than its pause is by the rule of the moves: with answers at once they are
// shorter by how much later than the STOP an answer was due.
func TestBeyond(t *testing.T) {
	const pause = 500 * time.Millisecond
	seen := func() scenario.Seen {
		return scenario.Seen{
			ICMP: &blackout.Target{BlackoutMs: 490}, UDP: &blackout.Target{BlackoutMs: 545},
			TCP: &blackout.Target{BlackoutMs: 550, KernelBlackoutMs: new(512.0)},
		}
	}
	if got, err := beyond(seen(), pause); err != nil || got != (answered{-10, 12, 45, 50}) {
		t.Errorf("%+v, %v", got, err)
	}
	for name, change := range map[string]func(*scenario.Seen){
		"no ICMP":                     func(s *scenario.Seen) { s.ICMP = nil },
		"no UDP":                      func(s *scenario.Seen) { s.UDP = nil },
		"no TCP":                      func(s *scenario.Seen) { s.TCP = nil },
		"no blackout":                 func(s *scenario.Seen) { s.UDP.BlackoutMs = 0 },
		"no acknowledgement":          func(s *scenario.Seen) { s.TCP.KernelBlackoutMs = nil },
		"no acknowledgement was late": func(s *scenario.Seen) { s.TCP.KernelBlackoutMs = new(0.0) },
	} {
		s := seen()
		if change(&s); true {
			if got, err := beyond(s, pause); err == nil {
				t.Errorf("%s: %+v was taken", name, got)
			}
		}
	}
}

func TestEnviron(t *testing.T) {
	g := scenario.Guest{Guest: cluster.Guest{Name: "vm1", Config: "/shared/guests/vm1.xml"}}
	move := environ(g, "node1", "migrate_to", time.Minute, "migration_speed=20")
	for _, want := range []string{
		"OCF_RESOURCE_INSTANCE=vm1", "OCF_RESKEY_config=/shared/guests/vm1.xml", "OCF_RESKEY_CRM_meta_timeout=60000",
		"OCF_RESKEY_CRM_meta_on_node=node1",
		"OCF_RESKEY_CRM_meta_name=migrate_to", "OCF_RESKEY_CRM_meta_interval=0", "OCF_RESKEY_migration_speed=20",
	} {
		if !slices.Contains(move, want) {
			t.Errorf("%s is missing in %q", want, move)
		}
	}
	if !slices.Contains(environ(g, "node1", "monitor", time.Minute), "OCF_RESKEY_CRM_meta_interval=10000") {
		t.Error("a monitor without its interval")
	}
}

func TestCrowd(t *testing.T) {
	nodes := crowd(10, 100)
	if !reflect.DeepEqual(nodes, crowd(10, 100)) {
		t.Error("it is not the same each time")
	}
	seen := map[string]bool{}
	for _, guests := range nodes {
		for _, g := range guests {
			seen[g.Name] = true
		}
		if len(guests) != 10 {
			t.Errorf("a node has %d guests", len(guests))
		}
	}
	if len(seen) != 100 {
		t.Errorf("%d names", len(seen))
	}
}

func TestPlanMany(t *testing.T) {
	s := Stage{Progress: func(string) {}}
	results, err := Benches[0].perform(t.Context(), s, 1)
	if err != nil || len(results) != 1 || results[0].Name != "plan-10k" || results[0].N != 1 ||
		results[0].Ours.P50 <= 0 {
		t.Errorf("%+v, %v", results, err)
	}
}

// One that fails does not keep the others from being measured.
func TestStageRun(t *testing.T) {
	broken := errors.New("broken")
	var asked []int
	bench := func(name string, err error) Bench {
		return Bench{Results: []string{name}, N: 7, Run: func(_ context.Context, s *Stage) ([]Result, error) {
			asked = append(asked, s.N)
			return []Result{{Name: name}}, err
		}}
	}
	var kept []string
	keep := func(r []Result) error { kept = append(kept, r[0].Name); return nil }
	s := Stage{Progress: func(string) {}}
	err := s.Run(t.Context(), []Bench{bench("a", nil), bench("b", broken), bench("c", nil)}, 0, keep)
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "bench b:") ||
		!slices.Equal(kept, []string{"a", "c"}) {
		t.Errorf("%v, kept %v", err, kept)
	}
	if err := s.Run(t.Context(), []Bench{bench("a", nil)}, 3, keep); err != nil ||
		!slices.Equal(asked, []int{7, 7, 7, 3}) {
		t.Errorf("%v, turns %v", err, asked)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	kept = nil
	if err := s.Run(ended, []Bench{bench("a", nil), bench("c", nil)}, 0, keep); !errors.Is(err, context.Canceled) ||
		kept != nil {
		t.Errorf("%v, kept %v", err, kept)
	}
}

func TestAddAndRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "report.json")
	first := &Report{Schema: Schema, Commit: "c"}
	first.Add([]Result{{Name: "monitor", Notes: []string{"n"}, OursEnded: Endings{"live": 2}}})
	if err := first.WriteJSON(path); err != nil {
		t.Fatal(err)
	}
	got, err := ReadJSON(path)
	if err != nil || !reflect.DeepEqual(got, first) {
		t.Fatalf("%+v, %v", got, err)
	}
	got.Add([]Result{{Name: "plan-10k"}, {Name: "idle-pause"}})
	var names []string
	for _, r := range got.Results {
		names = append(names, r.Name)
	}
	if want := []string{"plan-10k", "monitor", "idle-pause"}; !slices.Equal(names, want) {
		t.Errorf("%q, want %q", names, want)
	}
	if err := (&Report{Schema: 99}).WriteJSON(path); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{path, path + ".none"} {
		if _, err := ReadJSON(bad); err == nil {
			t.Errorf("read %q", bad)
		}
	}
}
