package nodes

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/lab/guest/ledger"
	"github.com/vmferry/vmferry/lab/scenario"
	"github.com/vmferry/vmferry/lab/torture"
)

// proc makes a proc(5) of processes: their number, cgroup and command line.
func proc(t *testing.T, some ...[3]string) string {
	t.Helper()
	dir := t.TempDir()
	for _, p := range some {
		path := filepath.Join(dir, p[0])
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{
			"cgroup":  "0::" + p[1] + "\n",
			"cmdline": strings.ReplaceAll(p[2], " ", "\x00") + "\x00",
			"stat":    p[0] + " (a (strange) name) S 1 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 999 1\n",
		} {
			if err := os.WriteFile(filepath.Join(path, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

func TestVictims(t *testing.T) {
	const here, there = "/vmferry-lab-1234/node1/system.slice/x.service", "/vmferry-lab-1234/node2/x"
	dir := proc(t,
		[3]string{"10", here, "/usr/sbin/pacemakerd"},
		[3]string{"11", here, "/usr/sbin/corosync -f"},
		[3]string{"12", here, "/usr/sbin/libvirtd --timeout 120"},
		[3]string{"13", here, "/usr/sbin/vmferryd"},
		[3]string{"14", here, "/usr/sbin/vmferry-guard"},
		[3]string{"15", here, "/usr/sbin/vmferry-guard --second"},
		[3]string{"16", here, "/proc/self/exe --second"},
		[3]string{"17", here, "/usr/sbin/vmferry-guard --move node2"},
		[3]string{"18", here, "/usr/bin/vi vmferry-guard"},
		[3]string{"19", here, "/usr/libexec/vmferry/agent migrate_to"},
		[3]string{"20", here, "/usr/libexec/vmferry/agent monitor"},
		[3]string{"21", there, "/usr/sbin/pacemakerd"},
		[3]string{"22", "/elsewhere", "/usr/sbin/pacemakerd"},
		[3]string{"23", here, "/usr/sbin/virtqemud"},
	)
	some, err := processes(dir, "node1")
	if err != nil || len(some) != 12 {
		t.Fatalf("%v, %v", some, err)
	}
	of := func(is func(process) bool) (pids []int) {
		for _, p := range some {
			if is(p) {
				pids = append(pids, p.PID)
			}
			if p.Start != 4711 {
				t.Errorf("%+v", p)
			}
		}
		slices.Sort(pids)
		return pids
	}
	for kind, want := range map[torture.Kind][]int{
		torture.KillPacemakerd: {10}, torture.KillCorosync: {11}, torture.KillLibvirt: {12, 23},
		torture.KillVmferryd: {13},
		torture.KillGuard:    {14}, torture.KillSecond: {15, 16}, torture.KillPair: {14, 15, 16},
	} {
		if got := of(victims[kind]); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", kind, got, want)
		}
	}
	if got := of(movesGuest); !slices.Equal(got, []int{19}) {
		t.Errorf("agents: %v", got)
	}
	for _, kind := range torture.Kinds() {
		kills := strings.HasPrefix(string(kind), "kill-") && kind != torture.KillAgent
		if (victims[kind] != nil) != kills {
			t.Errorf("%s names a victim: %t", kind, victims[kind] != nil)
		}
	}
}

func world() *World {
	c := &cluster.Cluster{Nodes: []string{"node1", "node2"},
		Addresses: map[string]string{"node1": "10.77.0.1", "node2": "10.77.0.2"}}
	return &World{Runner: &scenario.Runner{Cluster: c, Guests: []scenario.Guest{{Guest: cluster.Guest{Name: "vm1"},
		Address: "10.77.0.101"}}}, Addresses: map[torture.Way][]string{torture.Gateway: {"10.77.0.253"}}}
}

func TestRules(t *testing.T) {
	for way, want := range map[torture.Way][][]string{
		torture.Link: {
			{"INPUT", "--source=10.77.0.2", "--protocol=udp", "--match=multiport", "--dports=5405,5411", "--jump=DROP"},
			{"OUTPUT", "--destination=10.77.0.2", "--protocol=udp", "--match=multiport", "--dports=5405,5411",
				"--jump=DROP"},
		},
		torture.Network: {{"INPUT", "--source=10.77.0.2", "--jump=DROP"},
			{"OUTPUT", "--destination=10.77.0.2", "--jump=DROP"}},
		torture.Inward: {{"INPUT", "--source=10.77.0.2", "--protocol=udp", "--match=multiport", "--dports=5405,5411",
			"--jump=DROP"}},
		torture.Gateway: {{"INPUT", "--source=10.77.0.253", "--jump=DROP"},
			{"OUTPUT", "--destination=10.77.0.253", "--jump=DROP"}},
		torture.Storage: nil,
	} {
		if got := world().rules("node1", way); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %q, want %q", way, got, want)
		}
	}
}

func TestService(t *testing.T) {
	if got, want := world().Service("vm1"), fmt.Sprintf("10.77.0.101:%d", ledger.Port); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestParseRoom(t *testing.T) {
	size, free, err := parseRoom("    1B-blocks      Avail\n   536870912  400000000\n")
	if err != nil || size != 536870912 || free != 400000000 {
		t.Errorf("%d, %d, %v", size, free, err)
	}
	for _, bad := range []string{"", "a b\n", "1\n", "1 -\n"} {
		if _, _, err := parseRoom(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

// What is noted of a hang ends when the node wakes or dies.
func TestBars(t *testing.T) {
	w := world()
	w.hung = []scenario.Bar{{Node: "node1", From: time.Unix(1, 0)}, {Node: "node2", From: time.Unix(2, 0)}}
	w.awake("node1")
	if w.hung[0].To.IsZero() || !w.hung[1].To.IsZero() {
		t.Errorf("%+v", w.hung)
	}
}

func TestScan(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk.raw")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(f, "aaaaaaaa-0000-4000-8000-000000000000")
	if err != nil {
		t.Fatal(err)
	}
	for n := range uint64(5) {
		if err := l.Put(n + 1); err != nil {
			t.Fatal(err)
		}
	}
	f.Close()
	if s, err := scan(path); err != nil || s.Last() != 5 || s.Damaged != 0 {
		t.Errorf("%+v, %v", s, err)
	}
}
