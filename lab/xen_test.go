package lab_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/lab"
	"github.com/vmferry/vmferry/lab/supervisor"
)

// TestLabXen runs its parts on one lab whose nodes run Xen: all of them (VMFERRY_XEN=all), or those that tell most in a
// short time.
func TestLabXen(t *testing.T) {
	b := newBench(t)
	var due []part
	for _, p := range []struct {
		short bool
		part
	}{
		{true, part{"nodes", false, testXenNodes}},
		{true, part{"commands", false, testXenCommands}},
		{false, part{"reboot", false, testXenReboot}},
		{false, part{"power", false, testXenPower}},
		{false, part{"crash", false, testXenCrash}},
		{false, part{"ocft", false, testXenOCFT}},
		{false, part{"ten moves", false, testXenMoves}},
		{false, part{"kills", false, testXenKills}},
		{true, part{"scenarios", true, testXenScenarios}}, // they reboot and kill nodes too
	} {
		if p.short || wholeXen() {
			due = append(due, p.part)
		}
	}
	b.walk(t, []string{"--hypervisor", "xen"}, due)
}

// state is what the supervisor knows.
func (b bench) state(t *testing.T) supervisor.Reply {
	t.Helper()
	var reply supervisor.Reply
	if err := json.Unmarshal([]byte(b.run(t, "status", "--json")), &reply); err != nil {
		t.Fatal(err)
	}
	return reply
}

// awaitMembers waits until Pacemaker on both nodes has both as members.
func (b bench) awaitMembers(t *testing.T) {
	t.Helper()
	await(t, "both nodes to be members", 3*time.Minute, func() bool {
		for _, node := range lab.Nodes {
			out, code := b.try(t, "shell", node.Name, "crm_mon", "--one-shot", "--output-as=text")
			if code != 0 || !strings.Contains(out, "Online: [ node1 node2 ]") {
				return false
			}
		}
		return true
	})
}

// testXenNodes looks at what a domain 0 has.
func testXenNodes(t *testing.T, b bench) {
	if reply := b.state(t); reply.Hypervisor != supervisor.Xen {
		t.Errorf("the lab says that it has %q", reply.Hypervisor)
	}
	for _, node := range lab.Nodes {
		other := lab.Nodes[2-node.ID].Name
		for _, check := range []struct {
			command []string
			want    string
		}{
			{[]string{"cat", "/sys/hypervisor/type"}, "xen"},
			{[]string{"hostname"}, node.Name},
			{[]string{"xl", "list"}, "Domain-0"},
			{[]string{"virsh", "--connect", "xen:///system", "list", "--name"}, "Domain-0"},
			{[]string{"virsh", "--connect", "xen+tcp://" + other + "/system", "hostname"}, other},
			{[]string{"ssh", other, "hostname"}, other},
			{[]string{"systemctl", "is-active", "vmferryd.service"}, "active"},
			{[]string{"ip", "-brief", "link", "show", "master", "br0"}, "host0"},
			{[]string{"fence_lab", "-o", "list"}, other + ","},
			{[]string{"findmnt", "--noheadings", "--output", "FSTYPE", "/shared"}, "9p"},
		} {
			if out, code := b.try(t, append([]string{"shell", node.Name}, check.command...)...); code != 0 ||
				!strings.Contains(out, check.want) {
				t.Errorf("%s: %q: exit code %d, no %q:\n%s", node.Name, check.command, code, check.want, out)
			}
		}
	}
	b.run(t, "shell", "node1", "touch", "/shared/both")
	b.run(t, "shell", "node2", "cp", "/etc/hostname", "/shared/both")
	if out := b.run(t, "shell", "node1", "cat", "/shared/both"); out != "node2\n" {
		t.Errorf("node1 reads %q of what node2 wrote", out)
	}
	if text, err := os.ReadFile(filepath.Join(b.dir, "shared", "both")); err != nil || string(text) != "node2\n" {
		t.Errorf("the host reads %q, %v", text, err)
	}
}

// testXenCommands checks that a command on a node is what was requested.
func testXenCommands(t *testing.T, b bench) {
	if out := b.run(t, "shell", "node1", "printf", `%s|`, "a b", "", "it's", "$HOME", "*"); out != "a b||it's|$HOME|*|" {
		t.Errorf("the arguments became %q", out)
	}
	if out, code := b.try(t, "shell", "node1", "false"); code != 1 {
		t.Errorf("exit code %d\n%s", code, out)
	}
	if out, code := b.try(t, "shell", "node3", "true"); code != 1 || !strings.Contains(out, "unknown node") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	const n = 10
	begun := time.Now()
	for range n {
		b.run(t, "shell", "node1", "true")
	}
	t.Logf("a command takes %v", (time.Since(begun) / n).Round(time.Millisecond))
}

// testXenReboot reboots a node as an operator does: nobody is fenced, and it comes back.
func testXenReboot(t *testing.T, b bench) {
	was := b.state(t)
	b.run(t, "shell", "node1", "systemctl", "reboot")
	await(t, "the machine to boot again", 2*time.Minute,
		func() bool { return b.state(t).Nodes["node1"].Boots > was.Nodes["node1"].Boots })
	b.awaitMembers(t)
	now := b.state(t)
	if now.Nodes["node1"].Boots != was.Nodes["node1"].Boots+1 || now.Nodes["node2"] != was.Nodes["node2"] {
		t.Errorf("the nodes were %+v and are %+v", was.Nodes, now.Nodes)
	}
	if len(now.Fence) != len(was.Fence) {
		t.Errorf("an orderly reboot was fenced: %+v", now.Fence)
	}
}

// testXenPower switches a node off, which leaves it off, and on again from the other node.
func testXenPower(t *testing.T, b bench) {
	b.run(t, "shell", "node2", "touch", "/root/kept")
	b.run(t, "shell", "node2", "systemctl", "poweroff")
	await(t, "the machine to be off", 2*time.Minute, func() bool { return !b.state(t).Nodes["node2"].Up })
	if out, code := b.try(t, "shell", "node2", "true"); code != 1 || !strings.Contains(out, "down") {
		t.Errorf("a node that is off answered: exit code %d\n%s", code, out)
	}
	if out, code := b.try(t, "shell", "node1", "fence_lab", "-o", "status", "-n", "node2"); code != 2 {
		t.Errorf("the power switch: exit code %d\n%s", code, out)
	}
	b.run(t, "shell", "node1", "fence_lab", "-o", "on", "-n", "node2")
	b.awaitMembers(t)
	b.run(t, "shell", "node2", "test", "-e", "/root/kept")
}

// testXenCrash cuts a node's power. The other one has the switch pressed, and it comes back.
func testXenCrash(t *testing.T, b bench) {
	was := b.state(t)
	begun := time.Now()
	if _, err := supervisor.Ask(t.Context(), supervisor.Control(b.dir),
		supervisor.Request{Op: supervisor.OpKill, Node: "node1"}); err != nil {
		t.Fatal(err)
	}
	t.Logf("killed within %v", time.Since(begun).Round(time.Millisecond))
	await(t, "the cluster to fence the node", 2*time.Minute, func() bool {
		fences := b.state(t).Fence
		return len(fences) > len(was.Fence) && !fences[len(fences)-1].Done.IsZero()
	})
	t.Logf("fenced after %v", time.Since(begun).Round(100*time.Millisecond))
	b.awaitMembers(t)
	t.Logf("back after %v", time.Since(begun).Round(100*time.Millisecond))
	for _, f := range b.state(t).Fence[len(was.Fence):] {
		if f.Node != "node1" || f.Error != "" {
			t.Errorf("fenced: %+v", f)
		}
	}
}
