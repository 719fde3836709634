package lab_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vmferry/vmferry/resource"
)

// The nodes of a kill: the action is run at one, and the guest's other place is the other.
const source, target = "node1", "node2"

// victim is what is killed while the action is halted.
type victim string

const (
	agentItself   victim = "agent"
	sourceLibvirt victim = "libvirtd of node1"
	targetLibvirt victim = "libvirtd of node2"
	sourceQEMU    victim = "QEMU of node1"
	targetQEMU    victim = "QEMU of node2"
)

// kill is one case: an action halted at a step, what is killed there, and where the action
// is run again first.
type kill struct {
	action, step string
	victim       victim
	elsewhere    bool // again at the other node first, and then at the same one
}

func (k kill) String() string {
	order := "again here"
	if k.elsewhere {
		order = "again there, then here"
	}
	return fmt.Sprintf("%s at %s kills %s, %s", k.action, k.step, k.victim, order)
}

// steps are those of the agent (resource.Steps) and of a migration in between. There is
// no QEMU to kill before there is one.
var steps = []struct {
	action, step string
	victims      []victim
}{
	{"start", "begin", []victim{sourceLibvirt}},
	{"start", "proven", []victim{sourceLibvirt, targetLibvirt}},
	{"start", "restoring", []victim{sourceLibvirt}},
	{"start", "created", []victim{sourceLibvirt, sourceQEMU}},
	{"start", "end", []victim{sourceLibvirt, sourceQEMU}},
	{"stop", "begin", []victim{sourceLibvirt, sourceQEMU}},
	{"stop", "saving", []victim{sourceLibvirt, sourceQEMU}},
	{"stop", "asked", []victim{sourceLibvirt, sourceQEMU}},
	{"stop", "destroying", []victim{sourceLibvirt, sourceQEMU}},
	{"stop", "killing", []victim{sourceQEMU}},
	{"stop", "end", []victim{sourceLibvirt}},
	{"monitor", "begin", []victim{sourceLibvirt, sourceQEMU}},
	{"monitor", "end", []victim{sourceLibvirt, sourceQEMU}},
	{"migrate_to", "begin", []victim{sourceLibvirt, targetLibvirt, sourceQEMU}},
	{"migrate_to", "intended", []victim{sourceLibvirt, targetLibvirt, sourceQEMU}},
	{"migrate_to", "pre-flight", []victim{sourceLibvirt, targetLibvirt, sourceQEMU}},
	{"migrate_to", "migrating", []victim{sourceLibvirt, targetLibvirt, sourceQEMU}},
	{"migrate_to", "copying", []victim{sourceLibvirt, targetLibvirt, sourceQEMU, targetQEMU}},
	{"migrate_to", "verifying", []victim{sourceLibvirt, targetLibvirt, targetQEMU}},
	{"migrate_to", "moved", []victim{sourceLibvirt, targetLibvirt, targetQEMU}},
	{"migrate_to", "end", []victim{sourceLibvirt, targetLibvirt, targetQEMU}},
	{"migrate_from", "begin", []victim{targetLibvirt, targetQEMU}},
	{"migrate_from", "intended", []victim{targetLibvirt, targetQEMU}},
	{"migrate_from", "end", []victim{targetLibvirt, targetQEMU}},
}

// kills makes a share of the matrix: at every step each victim, in both orders. Neighbours in the matrix are in
// different shares, so that each share has every action.
func kills(of share) []kill {
	var some []kill
	for number, s := range steps {
		for i, v := range append([]victim{agentItself}, s.victims...) {
			for order, elsewhere := range []bool{false, true} {
				if of.has(number + i + 3*order) {
					some = append(some, kill{s.action, s.step, v, elsewhere})
				}
			}
		}
	}
	return some
}

// killer runs the cases, one after the other, with the guest vm1.
type killer struct {
	t *testing.T
	b bench
}

// testKills walks through every step of every action. Whatever is killed there, the guest
// executes at most once at any time, and the cluster manager's recovery brings it back.
func testKills(t *testing.T, b bench) {
	some := kills(shareOf(t))
	t.Logf("share %s of the kill matrix: %d of %d cases", shareOf(t), len(some), len(kills(share{})))
	for _, k := range some {
		t.Run(k.String(), func(t *testing.T) {
			r := killer{t, b}
			r.prepare(k)
			r.strike(k)
			r.again(k)
			r.recover()
		})
	}
	r := killer{t, b}
	r.off()
}

// call runs an action to its end.
func (r killer) call(node, action string, params ...string) (string, int) {
	r.t.Helper()
	return r.b.try(r.t, append(append([]string{"shell", node}, r.environ(node, action, params)...), agentFile, action)...)
}

// environ is how Pacemaker calls the agent.
func (killer) environ(node, action string, more []string) []string {
	other := map[string]string{source: target, target: source}[node]
	timeout := map[string]string{"start": "30000", "stop": "14000", "monitor": "10000", "migrate_to": "40000",
		"migrate_from": "6000"}[action]
	params := []string{
		"config=/shared/guests/vm1.xml", "hypervisor=qemu:///system", "migration_transport=tcp",
		"CRM_meta_timeout=" + timeout, "CRM_meta_on_node=" + node, "CRM_meta_migrate_target=" + other,
		"CRM_meta_migrate_source=" + other,
	}
	return agentEnv(append(params, more...)...)
}

// must is call for what has to succeed.
func (r killer) must(node, action string, params ...string) {
	r.t.Helper()
	if out, code := r.call(node, action, params...); code != 0 {
		r.t.Fatalf("%s at %s: exit code %d\n%s", action, node, code, out)
	}
}

// off stops the guest everywhere.
func (r killer) off() {
	r.t.Helper()
	for _, node := range []string{target, source} {
		r.libvirtd(node)
		r.must(node, "stop", "force_stop=true")
	}
}

// libvirtd waits until a node's libvirt answers: systemd starts a killed one again.
func (r killer) libvirtd(node string) {
	r.t.Helper()
	await(r.t, "libvirtd of "+node, 30*time.Second, func() bool {
		_, code := r.b.try(r.t, "shell", node, "virsh", "--connect", "qemu:///system", "list")
		if code != 0 {
			r.b.try(r.t, "shell", node, "systemctl", "reset-failed", "libvirtd.service")
		}
		return code == 0
	})
}

// prepare makes the state in which the action is called.
func (r killer) prepare(k kill) {
	r.t.Helper()
	r.off()
	if k.action == "start" && k.step != "restoring" {
		return
	}
	r.must(source, "start")
	switch {
	case k.step == "restoring":
		r.must(source, "stop", snapshots)
	case k.action == "migrate_from":
		r.must(source, "migrate_to")
	case k.step == "copying":
		// Memory that was never touched is sent in no time.
		await(r.t, "the guest to boot", 60*time.Second, func() bool {
			out, _ := r.b.try(r.t, "shell", source, "virsh", "--connect", "qemu:///system", "dommemstat", "vm1")
			return rss(out) > 100<<10
		})
	}
}

// rss reads the line "rss KIBIBYTES" of virsh dommemstat.
func rss(stats string) (kib int) {
	for line := range strings.Lines(stats) {
		if n, err := fmt.Sscanf(line, "rss %d", &kib); n == 1 && err == nil {
			return kib
		}
	}
	return 0
}

// snapshots has the guest saved at a stop and restored at a start.
const snapshots = "snapshot=/shared/guests"

// strike halts the action at its step, kills, and lets an agent that was not killed end.
func (r killer) strike(k kill) {
	r.t.Helper()
	node := source
	if k.action == "migrate_from" {
		node = target
	}
	var params []string
	if k.step == "destroying" {
		params = []string{"force_stop=true"}
	}
	if k.step == "saving" || k.step == "restoring" {
		params = []string{snapshots}
	}
	if k.step == "copying" {
		params = []string{"migration_speed=12"} // slowly enough to be interrupted
	}
	if k.step == "killing" {
		params = []string{"force_stop=true"}
		r.b.run(r.t, "shell", node, "systemctl", "stop", "libvirtd.service", "libvirtd.socket", "libvirtd-ro.socket",
			"libvirtd-admin.socket", "libvirtd-tcp.socket")
		defer r.b.run(r.t, "shell", node, "systemctl", "start", "libvirtd.socket", "libvirtd-ro.socket",
			"libvirtd-admin.socket", "libvirtd-tcp.socket")
	}
	agent, ended, out := r.halt(k, node, params)
	above := agent.ancestors()
	for node, is := range map[string]func(proc) bool{source: k.victim.at(source), target: k.victim.at(target)} {
		if is != nil {
			send(r.t, syscall.SIGKILL, find(r.t, node, is))
		}
	}
	if k.victim == agentItself {
		send(r.t, syscall.SIGKILL, []proc{agent})
	}
	send(r.t, syscall.SIGCONT, []proc{agent})
	await(r.t, "the agent's end", 60*time.Second, func() bool {
		wakeStopped(r.t, above)
		return isClosed(ended)
	})
	r.t.Logf("interrupted: %s", strings.TrimSpace(out.String()))
	r.atMostOne()
}

// wakeStopped wakes the parents of an agent that was halted: nsenter(1) stops itself once it has
// seen its child stopped, and wakes the child after itself.
func wakeStopped(t *testing.T, above []proc) {
	send(t, syscall.SIGCONT, slices.DeleteFunc(slices.Clone(above), func(p proc) bool { return p.state() != "T" }))
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// at is what the victim is at a node, nil where it is nothing.
func (v victim) at(node string) func(proc) bool {
	switch {
	case v == sourceLibvirt && node == source, v == targetLibvirt && node == target:
		return proc.isLibvirtd
	case v == sourceQEMU && node == source, v == targetQEMU && node == target:
		return qemuOf("vm1")
	}
	return nil
}

// halt starts the action and returns when it is stopped at the step.
func (r killer) halt(k kill, node string, params []string) (agent proc, ended <-chan struct{}, out *bytes.Buffer) {
	r.t.Helper()
	at := "VMFERRY_HALT_AT=" + k.action + "/" + k.step
	args := append(r.environ(node, k.action, params), at, agentFile, k.action)
	cmd := r.b.command(r.t.Context(), append([]string{"shell", node}, args...)...)
	out = &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = cmd.Wait() }()
	await(r.t, at, 45*time.Second, func() bool {
		halted := find(r.t, node, func(p proc) bool { return p.hasVariable(at) && p.state() == "T" })
		if len(halted) > 0 {
			agent = halted[0]
		}
		return len(halted) > 0 || isClosed(done)
	})
	if agent.pid == 0 {
		r.t.Fatalf("it ended before it came to the step:\n%s", out)
	}
	return agent, done, out
}

// again runs the action again, as a cluster manager does that knows no better. What was
// interrupted alone must succeed now; a guest that was killed cannot be migrated.
func (r killer) again(k kill) {
	r.t.Helper()
	here, there := source, target
	if k.action == "migrate_from" {
		here, there = target, source
	}
	if k.elsewhere {
		out, code := r.call(there, k.action)
		r.t.Logf("again at %s: exit code %d %s", there, code, strings.TrimSpace(out))
		r.atMostOne()
	}
	out, code := r.call(here, k.action)
	r.t.Logf("again at %s: exit code %d %s", here, code, strings.TrimSpace(out))
	r.atMostOne()
	if k.victim == agentItself && !k.elsewhere && code != 0 {
		r.t.Errorf("%s was interrupted at %s, and run again it fails: exit code %d\n%s", k.action, k.step, code, out)
	}
}

// atMostOne fails the test where the guest executes twice.
func (r killer) atMostOne() {
	r.t.Helper()
	if nodes := r.executing(); len(nodes) > 1 {
		r.t.Fatalf("the guest executes on %v", nodes)
	}
}

// executing lists where copies of the guest execute. One copy is not asked how it is: an
// only copy can do no harm. Of several, those that their libvirt calls paused rest.
func (r killer) executing() []string {
	r.t.Helper()
	var copies []string
	for _, node := range []string{source, target} {
		for range find(r.t, node, qemuOf("vm1")) {
			copies = append(copies, node)
		}
	}
	if len(copies) < 2 {
		return copies
	}
	return slices.DeleteFunc(copies, func(node string) bool {
		r.libvirtd(node)
		state, code := r.b.try(r.t, "shell", node, "virsh", "--connect", "qemu:///system", "domstate", "vm1")
		return code == 0 && strings.TrimSpace(state) != "running"
	})
}

// recover does what a cluster manager does next: it asks both nodes, stops everything unless
// one of them has the guest for certain, and starts it.
func (r killer) recover() {
	r.t.Helper()
	for _, node := range []string{source, target} {
		r.libvirtd(node)
	}
	codes := map[string]int{}
	for _, node := range []string{source, target} {
		_, codes[node] = r.call(node, "monitor")
	}
	if codes[source]+codes[target] != 7 || codes[source]*codes[target] != 0 {
		r.t.Logf("monitors said %v: stopping everywhere, starting at %s", codes, source)
		for _, node := range []string{target, source} {
			r.must(node, "stop", "force_stop=true")
		}
		if copies := r.executing(); len(copies) != 0 {
			r.t.Fatalf("stopped on both nodes, and it is on %v", copies)
		}
		r.must(source, "start")
	}
	if copies := r.executing(); len(copies) != 1 {
		r.t.Fatalf("the guest executes on %v, want one node", copies)
	}
}

// Every step that the agent has is among those that are walked, and no other.
func TestKillStepsAreComplete(t *testing.T) {
	ofMove := []string{"pre-flight", "migrating", "copying", "verifying"}
	for _, action := range []string{"start", "stop", "monitor", "migrate_to", "migrate_from"} {
		var walked []string
		for _, s := range steps {
			if s.action == action && !slices.Contains(ofMove, s.step) {
				walked = append(walked, s.step)
			}
		}
		ofMirror := func(step string) bool { return step == "judged" || step == "promoted" } // a mirrored guest's alone
		if want := slices.DeleteFunc(resource.Steps(action), ofMirror); !slices.Equal(walked, want) {
			t.Errorf("%s: %v are walked, the agent has %v", action, walked, want)
		}
	}
}
