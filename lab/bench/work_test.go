package bench

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSpentBetween(t *testing.T) {
	at := func(ms int) time.Time { return time.Unix(100, 0).Add(time.Duration(ms) * time.Millisecond) }
	readings := []reading{
		{at(0), work{Agents: 10, Daemon: 5, Libvirt: 100}},
		{at(5), work{Agents: 12, Daemon: 5, Libvirt: 110}},
		{at(15), work{Agents: 12, Daemon: 8, Libvirt: 110}},
	}
	for _, c := range []struct {
		name     string
		from, to int
		want     work
		ok       bool
	}{
		{"all of it", 0, 15, work{2, 3, 10}, true},
		{"on the readings", 5, 15, work{0, 3, 0}, true},
		{"half of the first stretch", 0, 0, work{}, true},
		{"between readings", 10, 15, work{0, 1.5, 0}, true},
		{"from one stretch into the next", 4, 10, work{0.4, 1.5, 2}, true},
		{"begins too early", -1, 10, work{}, false},
		{"ends too late", 1, 16, work{}, false},
	} {
		got, ok := spentBetween(readings, at(c.from), at(c.to))
		near := func(a, b float64) bool { return a-b < 1e-9 && b-a < 1e-9 }
		same := near(got.Agents, c.want.Agents) && near(got.Daemon, c.want.Daemon) && near(got.Libvirt, c.want.Libvirt)
		if ok != c.ok || ok && !same {
			t.Errorf("%s: %+v, %v; want %+v, %v", c.name, got, ok, c.want, c.ok)
		}
	}
	if _, ok := spentBetween(nil, at(0), at(1)); ok {
		t.Error("something of no readings")
	}
}

func TestOwnWork(t *testing.T) {
	peer := []work{{Agents: 80, Libvirt: 10}, {Agents: 90, Libvirt: 30}, {Agents: 70, Libvirt: 20}}
	ours := []work{{Agents: 1, Daemon: 2, Libvirt: 25}, {Agents: 1, Daemon: 1, Libvirt: 5}}
	own, theirs := ownWork(ours, peer)
	if !slices.Equal(own, []float64{8, 2}) || !slices.Equal(theirs, []float64{80, 90, 70}) {
		t.Errorf("own %v, theirs %v", own, theirs)
	}
}

func TestParseGroup(t *testing.T) {
	const lab = "/vmferry-lab-1a2b/node1"
	for _, c := range []struct {
		cgroup string
		want   nodeGroup
		ok     bool
	}{
		{"12:cpu:/\n0::" + lab + "/payload/init.scope\n", lab + "/payload", true},
		{"0::" + lab + "/init.scope\n", lab, true},
		{"0::" + lab + "\n", lab, true},
		{"0::/vmferry-lab-1a2b/node12/init.scope\n", "", false},
		{"0::/user/node1/x\n", "", false},
		{"", "", false},
	} {
		if got, ok := parseGroup(c.cgroup, "node1"); got != c.want || ok != c.ok {
			t.Errorf("%q: %q, %v", c.cgroup, got, ok)
		}
	}
}

func TestUsage(t *testing.T) {
	for text, want := range map[string]float64{
		"usage_usec 1500\nuser_usec 1000\nsystem_usec 500\n": 1.5,
		"user_usec 1000\n": -1,
		"usage_usec x\n":   -1,
		"":                 -1,
	} {
		if got, err := usage(strings.NewReader(text)); (err != nil) != (want < 0) || err == nil && got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

// The clock of this process continues while it works, by what clock_getcpuclockid(3) makes of its number.
func TestProcessClock(t *testing.T) {
	before, err := clockTime(processClock(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	for end := burnt() + 20*time.Millisecond; burnt() < end; {
	}
	after, err := clockTime(processClock(os.Getpid()))
	if err != nil || after-before < 20*time.Millisecond {
		t.Errorf("%v, %v", after-before, err)
	}
}

// A reading adds up all nodes, and a daemon that has ended is an error and no zero.
func TestMeterReads(t *testing.T) {
	stat := func(us string) *os.File {
		path := filepath.Join(t.TempDir(), "cpu.stat")
		if err := os.WriteFile(path, []byte("usage_usec "+us+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	m := &meter{
		agents: []*os.File{stat("1000"), stat("2500")}, daemons: []*os.File{stat("4000")},
		libvirt: []int32{processClock(os.Getpid())},
	}
	got, err := m.read()
	if err != nil || got.spent.Agents != 3.5 || got.spent.Daemon != 4 || got.spent.Libvirt <= 0 || got.at.IsZero() {
		t.Errorf("%+v, %v", got, err)
	}
	m.close()
	if _, err := m.read(); err == nil {
		t.Error("files that are closed were read")
	}
	const none = 1 << 22 // above the largest process number that Linux has
	gone := &meter{libvirt: []int32{processClock(none)}}
	if _, err := gone.read(); err == nil || !strings.Contains(err.Error(), "has ended") {
		t.Errorf("error %v", err)
	}
}
