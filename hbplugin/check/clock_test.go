package check

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/hbplugin/mirrord"
)

func TestChrony(t *testing.T) {
	for line, want := range map[string]clock{
		"7F7F0101,,8,1795954872.651245860,0.000000000,0.000000000,0.000000000,0.000,0.000,0.000,0.000000000,0.000000000,0.0,Normal\n": {"chrony", true},
		"00000000,,0,0.000000000,0.000000000,0.0,0.0,0.000,0.000,0.000,1.000000000,1.000000000,0.0,Not synchronised\n":                {"chrony", false},
		"C0000201,192.0.2.1,3,1.5,-0.25,0,0,0,0,0,0.5,0.25,64.4,Insert second":                                                        {"chrony", true},
		"C0000201,192.0.2.1,3,1.5,1e300,0,0,0,0,0,0.5,0.25,64.4,Normal":                                                               {"chrony", false},
		"C0000201,192.0.2.1,3,1.5,x,0,0,0,0,0,0.5,0.25,64.4,Normal":                                                                   {},
		"C0000201,192.0.2.1,3,1.5,nan,0,0,0,0,0,0,0,64.4,Normal":                                                                      {"chrony", false},
		"C0000201,192.0.2.1,3,1.5,-0.5,0,0,0,0,0,0.5,0.251,64.4,Normal":                                                               {"chrony", false},
		"506 Cannot talk to daemon\n": {},
		"":                            {},
	} {
		if got := chrony(line); got != want {
			t.Errorf("%q: %+v, want %+v", line, got, want)
		}
	}
}

func TestPeerClock(t *testing.T) {
	const s = time.Second
	for _, tt := range []struct {
		ahead, half time.Duration
		grade       Grade
		found       string
	}{
		{0, s / 10, OK, "agrees"},
		{s, s / 10, OK, "agrees"},
		{-s, s, OK, "agrees"},
		{s + s/100, s / 10, Warning, "differs from this node's by 1.01s, to within 100ms"},
		{-time.Hour, s / 10, Warning, "differs from this node's by 1h0m0s"},
		{0, s + 1, OK, "is not known: the answer took 2s"},
		{3 * s, 2 * s, OK, "is not known: the answer took 4s"},
		{-3*s - s/100, 2 * s, Warning, "differs from this node's by 3.01s, to within 2s"},
	} {
		if grade, found := (peerClock{"n2", tt.ahead, tt.half}).judge(); grade != tt.grade || !strings.Contains(found, tt.found) {
			t.Errorf("%s to within %s: %s, %s", tt.ahead, tt.half, grade, found)
		}
	}
}

func TestClocks(t *testing.T) {
	for _, tt := range []struct {
		chrony, timedate string
		grade            Grade
		found            string
	}{
		{"", "", "", ""},
		{"", "yes\n", OK, "this node's is synchronized, says timedatectl"},
		{"", "no\n", Warning, "this node's is not synchronized to within 1s, says timedatectl"},
		{"a,b,3,1,0.001,0,0,0,0,0,0,0,1,Normal", "no\n", OK, "this node's is synchronized, says chrony"},
		{"a,b,3,1,0.001,0,0,0,0,0,0,0,1,Not synchronised", "yes\n", Warning, "this node's is not synchronized to within 1s, says chrony"},
		{"a,b,3,1,2.5,0,0,0,0,0,0,0,1,Normal", "yes\n", Warning, "this node's is not synchronized to within 1s, says chrony"},
	} {
		run := func(_ context.Context, name string, _ ...string) (string, error) {
			if out := map[string]string{"chronyc": tt.chrony, "timedatectl": tt.timedate}[name]; out != "" {
				return out, nil
			}
			return "", errors.New("no such program")
		}
		o, f := &Observed{Clock: Sources{Run: run}.clock(t.Context())}, findings{}
		clocks(o, &f)
		if tt.found == "" && len(f) == 0 {
			continue
		}
		if len(f) != 1 || f[0].Grade != tt.grade || f[0].Found != tt.found || (f[0].Remedy == "") != (tt.grade == OK) {
			t.Errorf("%q, %q: %+v", tt.chrony, tt.timedate, f)
		}
	}
}

// The way there shows the other node's clock.
func TestReachTellsTheTime(t *testing.T) {
	for out, known := range map[string]bool{"2000-01-01T00:00:00.5Z": true, "Welcome to n2\n2000-01-01T00:00:00.5Z\n": true,
		"vmferry-mirror 1\n": false, "": false} {
		m := &Mirrors{Noted: []mirrord.Guest{{Peer: "n2", SSH: []string{"ssh", "n2"}}, {Peer: "n2", SSH: []string{"ssh", "n2"}}}}
		asked := 0
		m.Reach(t.Context(), func(_ context.Context, name string, args ...string) (string, error) {
			if asked++; name+" "+strings.Join(args, " ") != "ssh n2 vmferry-mirror --clock" {
				t.Errorf("%s %q", name, args)
			}
			return out, nil
		})
		if asked != 1 || (len(m.clocks) == 1) != known || (m.peers[0].err == nil) != known {
			t.Errorf("%q: %d questions, %+v, %v", out, asked, m.clocks, m.peers[0].err)
		}
		if known && (m.clocks[0].node != "n2" || m.clocks[0].ahead > -20*365*24*time.Hour || m.clocks[0].half < 0) {
			t.Errorf("%q: %+v", out, m.clocks)
		}
	}
}
