package lab_test

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/lab"
	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/lab/guest"
	"github.com/vmferry/vmferry/lab/supervisor"
)

// xenGuest is vm1 on Xen, run by Pacemaker with our agent.
type xenGuest struct {
	t *testing.T
	b bench
}

// Time limits of what a guest does in nodes that are emulated.
const (
	xenTimeout = 4 * time.Minute
	xenPoll    = time.Second
)

// place has Pacemaker run the guest, first on the first node.
func (g xenGuest) place() {
	g.t.Helper()
	text, err := cluster.Configuration(cluster.Xen, cluster.Ours,
		[]cluster.Guest{{Name: "vm1", Config: "/shared/guests/vm1.xml", XMFile: "/shared/guests/vm1.cfg"}}, source)
	if err != nil {
		g.t.Fatal(err)
	}
	g.on(source, "cibadmin", "--modify", "--allow-create", "--scope=configuration", "--xml-text="+text)
	g.awaitIdle()
}

// remove stops the guest and takes it away.
func (g xenGuest) remove() {
	g.on(source, "crm_resource", "--resource=vm1", "--meta", "--set-parameter=target-role", "--parameter-value=Stopped")
	g.on(source, "crm_resource", "--wait", "--timeout=180")
	for _, path := range []string{"//rsc_location[@rsc='vm1']", "//primitive[@id='vm1']"} {
		g.on(source, "cibadmin", "--delete-all", "--force", "--xpath="+path)
	}
	g.on(source, "crm_resource", "--wait", "--timeout=60")
}

func (g xenGuest) on(node string, args ...string) string {
	g.t.Helper()
	return g.b.run(g.t, append([]string{"shell", node}, args...)...)
}

// bootID asks the guest which boot it is; "" when it does not answer.
func (g xenGuest) bootID() string {
	g.t.Helper()
	spec := "10.77.0.101/" + strconv.Itoa(guest.StatusPort)
	for _, node := range []string{source, target} {
		out, code := g.b.try(g.t, "shell", node, "timeout", "5", "bash", "-c", "cat </dev/tcp/"+spec)
		var status guest.Status
		if code == 0 && json.Unmarshal([]byte(out), &status) == nil {
			return status.BootID
		}
	}
	return ""
}

// where lists the node of every copy of the guest, whatever it is called and does; false when
// a node does not tell.
func (g xenGuest) where() ([]string, bool) {
	g.t.Helper()
	var nodes []string
	for _, n := range lab.Nodes {
		out, code := g.b.try(g.t, "shell", n.Name, "timeout", "20", "xl", "list")
		if code != 0 {
			return nodes, false
		}
		for range xenCopies(out) {
			nodes = append(nodes, n.Name)
		}
	}
	return nodes, true
}

// awaitIdle waits until both nodes are members, Pacemaker has nothing left to do, there is exactly one copy of the
// guest, Pacemaker knows of it, and it answers. It returns where that is, and which boot.
func (g xenGuest) awaitIdle() (node, boot string) {
	g.t.Helper()
	g.b.awaitMembers(g.t)
	g.on(source, "crm_resource", "--wait", "--timeout=300")
	g.await("exactly one copy that answers", func() bool {
		copies, ok := g.where()
		if boot = g.bootID(); !ok || len(copies) != 1 || boot == "" {
			return false
		}
		node = copies[0]
		out, code := g.b.try(g.t, "shell", node, "crm_resource", "--resource=vm1", "--locate")
		return code == 0 && strings.Contains(out, "is running on: "+node)
	})
	return node, boot
}

// await is [await] for what costs a node some of its processor to look at.
func (g xenGuest) await(what string, done func() bool) {
	g.t.Helper()
	for deadline := time.Now().Add(xenTimeout); !done(); time.Sleep(xenPoll) {
		if time.Now().After(deadline) {
			g.t.Fatalf("waited %v for %s in vain", xenTimeout, what)
		}
	}
}

// move asks Pacemaker to move the guest, and does not wait.
func (g xenGuest) move(to string) {
	g.t.Helper()
	g.on(to, "crm_resource", "--resource=vm1", "--move", "--node="+to)
}

// clear removes the constraint of the last move.
func (g xenGuest) clear(via string) {
	g.t.Helper()
	g.on(via, "crm_resource", "--resource=vm1", "--clear")
}

func other(node string) string { return map[string]string{source: target, target: source}[node] }

// testXenMoves moves one guest there and back, over and over: it is the same boot all the time.
func testXenMoves(t *testing.T, b bench) {
	g := xenGuest{t, b}
	g.place()
	defer g.remove()
	node, boot := g.awaitIdle()
	for i := range 10 {
		begun := time.Now()
		to := other(node)
		g.move(to)
		g.on(to, "crm_resource", "--wait", "--timeout=300")
		g.clear(to)
		now, still := g.awaitIdle()
		t.Logf("move %d, %s to %s: %.0f s", i+1, node, to, time.Since(begun).Seconds())
		if now != to || still != boot {
			t.Fatalf("it was boot %s and is boot %s on %s", boot, still, now)
		}
		node = to
	}
}

// testXenKills kills a daemon or a machine in the middle of a move. However it ends, there is
// one copy then. It may be another boot: what Pacemaker does after a move that failed is to stop
// the guest everywhere and to start it.
func testXenKills(t *testing.T, b bench) {
	g := xenGuest{t, b}
	g.place()
	defer g.remove()
	libvirtd := func(g xenGuest, node string) {
		g.on(node, "systemctl", "kill", "--signal=KILL", "libvirtd.service")
	}
	machine := func(g xenGuest, node string) {
		if _, err := supervisor.Ask(g.t.Context(), supervisor.Control(g.b.dir),
			supervisor.Request{Op: supervisor.OpKill, Node: node}); err != nil {
			g.t.Fatal(err)
		}
	}
	for _, kill := range []struct {
		name     string
		ofTarget bool
		strike   func(xenGuest, string)
	}{
		{"libvirtd of the source", false, libvirtd},
		{"libvirtd of the target", true, libvirtd},
		{"machine of the source", false, machine},
		{"machine of the target", true, machine},
	} {
		if !t.Run(kill.name, func(t *testing.T) {
			g := xenGuest{t, b}
			g.on(source, "crm_resource", "--cleanup", "--resource=vm1") // a node where the guest failed before would not get it
			node, boot := g.awaitIdle()
			victim := node
			if kill.ofTarget {
				victim = other(node)
			}
			g.move(other(node))
			g.await("the second copy", func() bool {
				copies, _ := g.where()
				return len(copies) == 2 || slices.Equal(copies, []string{other(node)})
			})
			kill.strike(g, victim)
			struck := time.Now()
			now, after := g.awaitIdle()
			g.clear(now)
			t.Logf("one copy on %s, it was on %s, same boot: %v; idle after %.0f s", now, node, boot == after,
				time.Since(struck).Seconds())
		}) {
			return
		}
	}
}
