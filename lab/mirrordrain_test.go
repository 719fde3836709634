package lab_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate/mirror"
)

// drained is a mirrored guest whose disk has so much data that a copy of it would show.
const drainedMiB = 400

// testMirrorDrain has a guest leave a node, and come back, by its replica, as a standby does it. Then its node crashes.
func testMirrorDrain(t *testing.T, b bench) {
	r := newReflected(t, b, 74)
	defer r.giveBack()
	r.withData(drainedMiB)
	r.start()
	for _, from := range []string{source, target} {
		r.leaves(from)
	}
	r.settled(source)
	r.crash()
}

// withData makes its disk, whose ledger has the first 9 MiB.
func (r *reflected) withData(mib int) {
	r.t.Helper()
	r.on(source, "bash", "-euc", fmt.Sprintf("(head -c 9M /dev/zero; head -c %dM /dev/urandom) > %[2]s.raw"+
		"; qemu-img convert -f raw -O qcow2 %[2]s.raw %[2]s; rm %[2]s.raw", mib, r.spec.Disk))
}

// leaves has a node drained by a standby.
func (r *reflected) leaves(from string) {
	r.t.Helper()
	to, before, full := other(from), r.manifest(from), r.fullSyncs()
	begun := time.Now()
	r.on(target, "crm_attribute", "--type=nodes", "--node="+from, "--name=standby", "--update=on")
	r.movedTo(to)
	moved := time.Now()
	r.on(target, "crm_resource", "--wait", "--timeout=60")
	if said := r.agentSays(from); !strings.Contains(said, "the replica has what the guest has") {
		r.t.Errorf("the whole disks were copied:\n%s", said)
	}
	r.synced(from, moved)
	if now := r.manifest(to); now.Role != mirror.Truth || now.Epoch <= before.Epoch || now.Overlay {
		r.t.Errorf("%s was given the guest of epoch %d, and has %+v", to, before.Epoch, now)
	}
	if now := r.fullSyncs(); now != full {
		r.t.Errorf("%d disks were sent whole", now-full)
	}
	for _, node := range []string{source, target} {
		if r.has(node, r.spec.Disk+mirror.OverlaySuffix) {
			r.t.Errorf("%s has an overlay", node)
		}
	}
	r.runsOnlyAt(to)
	r.nothingLost()
	for _, s := range r.client.Silences(begun) {
		r.t.Errorf("the guest acknowledged nothing from %s to %s", s.From.Format(time.TimeOnly), s.To.Format(time.TimeOnly))
	}
	r.on(target, "crm_attribute", "--type=nodes", "--node="+from, "--name=standby", "--update=off")
	r.t.Logf("%s was drained in %.1f s; the first delta back was there %.1f s later", from, moved.Sub(begun).Seconds(),
		time.Since(moved).Seconds())
	r.on(target, "crm_resource", "--wait", "--timeout=60")
	checkNoFailures(r.t, r.on(target, "crm_mon", "--one-shot", "--inactive", "--failcounts"))
}

func (r *reflected) movedTo(node string) {
	r.t.Helper()
	await(r.t, "the guest to be on "+node+", moved live", 60*time.Second, func() bool {
		out, _ := r.b.try(r.t, "shell", node, "virsh", "--connect", "qemu:///system", "domstate", "--reason", r.spec.Name)
		return strings.Contains(out, "running (migrated)")
	})
}

// settled waits until a node has the guest, and the other node its replica.
func (r *reflected) settled(node string) {
	r.t.Helper()
	r.synced(other(node), time.Now())
	r.runsOnlyAt(node)
}

// fullSyncs is how often disks of the guest were sent whole, from either node.
func (r *reflected) fullSyncs() (n int) {
	r.t.Helper()
	for _, node := range []string{source, target} {
		log := r.on(node, "journalctl", "--no-pager", "--output=cat", "--unit=vmferry-mirror")
		for line := range strings.Lines(log) {
			if strings.Contains(line, "full sync done") && strings.Contains(line, r.spec.Name) {
				n++
			}
		}
	}
	return n
}

func (r *reflected) agentSays(node string) string {
	r.t.Helper()
	return r.on(node, "journalctl", "--boot", "--no-pager", "--output=cat", "--identifier=vmferry-agent")
}

// testMirrorDrainKilled kills the QEMU that the guest is about to move to, and then, in another move, the agent that moves
// it. The cluster starts the guest again somewhere.
func testMirrorDrainKilled(t *testing.T, b bench) {
	r := newReflected(t, b, 75)
	defer r.giveBack()
	r.withData(drainedMiB)
	r.start()
	isMoving := func(p proc) bool { return p.isAgent() && slices.Contains(p.args, "migrate_to") }
	for _, c := range []struct {
		name string
		kill func(from string) []proc
	}{
		{"the target's QEMU", func(from string) []proc { return find(r.t, other(from), qemuOf(r.spec.Name)) }},
		{"the agent", func(from string) []proc {
			if len(find(r.t, other(from), qemuOf(r.spec.Name))) == 0 {
				return nil
			}
			return find(r.t, from, isMoving)
		}},
		{"the agent when the guest has come", func(from string) []proc {
			if len(find(r.t, from, qemuOf(r.spec.Name))) > 0 {
				return nil
			}
			return find(r.t, from, isMoving)
		}},
	} {
		from := source
		if r.manifest(target).Role == mirror.Truth {
			from = target
		}
		if ok := t.Run(c.name, func(t *testing.T) { r.t = t; r.killedMoving(from, c.kill) }); !ok {
			r.t = t
			return
		}
		r.t = t
	}
}

func (r *reflected) killedMoving(from string, kill func(string) []proc) {
	r.t.Helper()
	r.both("rm", "--force", r.spec.Disk+mirror.OldSuffix) // that of the case before: a node keeps one
	begun := time.Now()
	r.on(target, "crm_attribute", "--type=nodes", "--node="+from, "--name=standby", "--update=on")
	var victims []proc
	await(r.t, "the guest to begin to move", 30*time.Second, func() bool { victims = kill(from); return len(victims) > 0 })
	send(r.t, syscall.SIGKILL, victims)
	r.t.Logf("killed %q %.1f s after the standby began", victims[0].args[0], time.Since(begun).Seconds())
	for node := range map[string]bool{source: true, target: true} {
		text, _ := json.Marshal(r.manifest(node))
		r.t.Logf("%s has %s", node, text)
	}
	r.on(target, "crm_resource", "--wait", "--timeout=120")
	r.acknowledgesMore()
	for _, node := range []string{source, target} {
		r.t.Logf("the agent on %s says:\n%s", node, tail(r.agentSays(node), 25))
	}
	r.nothingLost()
	r.on(target, "crm_attribute", "--type=nodes", "--node="+from, "--name=standby", "--update=off")
	r.on(target, "crm_resource", "--cleanup")
	r.on(target, "crm_resource", "--wait", "--timeout=60")
	at := source
	if r.manifest(target).Role == mirror.Truth {
		at = target
	}
	r.settled(at)
	r.nothingLost()
	r.t.Logf("the guest is on %s; silences: %+v", at, r.client.Silences(begun))
}

// acknowledgesMore waits until the guest acknowledges numbers again.
func (r *reflected) acknowledgesMore() {
	r.t.Helper()
	last, _ := r.client.Last()
	await(r.t, "the guest to acknowledge more numbers", r.limit, func() bool { n, _ := r.client.Last(); return n > last+5 })
}

// tail is the end of a text.
func tail(text string, lines int) string {
	all := slices.Collect(strings.Lines(text))
	return strings.Join(all[max(0, len(all)-lines):], "")
}
