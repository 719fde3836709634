package lab_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// part is one test of a lab. It relies on nothing but a lab as `vmferry-lab up` leaves it, so that each runs alone
// (go test -run TestLab/kills) and after any other, failed or not.
type part struct {
	name   string
	spoils bool // it leaves the nodes in a state that the next part must not have
	test   func(*testing.T, bench)
}

// walk runs the parts on one lab, as booting one for each would take longer than many of them. up are the arguments of
// `vmferry-lab up`. After a part that failed, that spoils the nodes or that did not clean up, the next one gets a new
// lab.
func (b bench) walk(t *testing.T, up []string, parts []part) {
	t.Logf("share %s of the cases that are dealt out; SHARE=all has all", shareOf(t))
	before := b.footprint(t)
	var standing bool
	var fresh map[string]string
	var times strings.Builder
	for _, p := range parts {
		ran, begun := false, time.Now()
		ok := t.Run(p.name, func(t *testing.T) {
			ran = true
			if !standing {
				b.run(t, "down")
				b.run(t, append([]string{"up"}, up...)...)
				standing, fresh = true, b.traces(t)
			}
			p.test(t, b)
		})
		if !ran {
			continue // -run has left it out
		}
		fmt.Fprintf(&times, "%-24s %5.0f s\n", p.name, time.Since(begun).Seconds())
		if !standing {
			b.diagnose(t, p.name)
			t.Fatalf("part %q got no lab, and nor would the others", p.name)
		}
		standing = !p.spoils && ok && b.isFresh(t, p.name, fresh)
		if !ok {
			b.diagnose(t, p.name)
		}
	}
	b.run(t, "down")
	compareFootprints(t, before, b.footprint(t))
	t.Logf("the time of each part:\n%s", times.String())
}

// isFresh reports whether a part has left the nodes as they were.
func (b bench) isFresh(t *testing.T, part string, fresh map[string]string) bool {
	t.Helper()
	left := changes(fresh, b.traces(t))
	if left != "" {
		t.Logf("part %q left the nodes changed, the next one gets a new lab:\n%s", part, left)
		b.diagnose(t, part)
	}
	return left == ""
}

// A node's traces of a part: what Pacemaker is configured to run and what failed there, the domains that libvirt has,
// the units that work, addresses and packet filters.
const traces = `
cibadmin --query --scope=resources 2>&1 | grep -o '<[a-z]* id="[^"]*"'
cibadmin --query --scope=constraints 2>&1 | grep -o '<[a-z_]* id="[^"]*"'
crm_mon --one-shot --failcounts 2>&1 | grep -E 'Online|OFFLINE|standby|fail-count'
virsh list --all --name
for unit in corosync pacemaker heartbeat vmferryd libvirtd.socket libvirtd-tcp.socket; do
  echo $unit $(systemctl is-active $unit) $(systemctl is-enabled $unit)
done
ip -brief address show br0
iptables --wait --list-rules INPUT
grep -v '^#' /etc/ha.d/haresources
true`

// traces asks every node for its traces. What a node that is down has is a trace as well.
func (b bench) traces(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, name := range b.nodes(t) {
		out, code := b.try(t, "shell", name, "bash", "-c", traces)
		if code != 0 {
			out += fmt.Sprintf("exit code %d\n", code)
		}
		found[name] = out
	}
	return found
}

// changes lists the lines of each node that are new and, with a minus, those that are gone.
func changes(before, after map[string]string) string {
	var all strings.Builder
	for node := range after {
		for _, side := range []struct{ sign, in, of string }{
			{"", before[node], after[node]}, {"- ", after[node], before[node]},
		} {
			known := map[string]int{}
			for line := range strings.Lines(side.in) {
				known[line]++
			}
			for line := range strings.Lines(side.of) {
				if known[line]--; known[line] < 0 {
					all.WriteString(node + ": " + side.sign + strings.TrimSpace(line) + "\n")
				}
			}
		}
	}
	return all.String()
}

// diagnose collects what helps to understand a failure afterwards. It goes to a file beside the programs, one for each
// part: in the test's own output, the reason of the failure would drown in it.
func (b bench) diagnose(t *testing.T, part string) {
	t.Helper()
	if _, code := b.try(t, "status"); code != 0 {
		return // no lab, no nodes: `up` has printed why
	}
	var all strings.Builder
	for _, name := range b.nodes(t) {
		for _, command := range [][]string{
			{"crm_mon", "--one-shot", "--inactive", "--failcounts"},
			{"virsh", "list", "--all"},
			{"journalctl", "--no-pager", "--output=short-precise"},
		} {
			out, _ := b.try(t, append([]string{"shell", name}, command...)...)
			all.WriteString(name + ": " + strings.Join(command, " ") + "\n" + out + "\n")
		}
	}
	name := "lab-diagnosis-" + strings.ReplaceAll(part, " ", "-") + ".txt"
	file := filepath.Join(filepath.Dir(filepath.Dir(b.program)), name)
	if err := os.WriteFile(file, []byte(all.String()), 0o600); err != nil {
		t.Error(err)
		return
	}
	t.Logf("what the nodes have logged is in %s", file)
}

func TestChanges(t *testing.T) {
	fresh := map[string]string{"node1": "a\na\nb\n", "node2": "a\n"}
	for _, c := range []struct {
		name, node1, want string
	}{
		{"the same", "a\na\nb\n", ""},
		{"in another order", "b\na\na\n", ""},
		{"a new line", "a\na\nb\nvm1\n", "node1: vm1\n"},
		{"one more of a line", "a\na\na\nb\n", "node1: a\n"},
		{"a line is gone", "a\na\n", "node1: - b\n"},
		{"the node is down", "", "node1: - a\nnode1: - a\nnode1: - b\n"},
	} {
		if got := changes(fresh, map[string]string{"node1": c.node1, "node2": "a\n"}); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
