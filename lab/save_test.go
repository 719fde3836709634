package lab_test

import (
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/lab/guest"
)

// saves is where the guest is saved that cannot be moved.
const saves = "/shared/saves"

// testSave drains a node whose guest cannot be moved live: nothing gets through to the port at which its
// memory would arrive, and then Pacemaker is not to migrate it at all. It is saved and restored, and where
// there is no room for that, shut down cleanly and started.
func testSave(t *testing.T, b bench) {
	p := pair{t, b}
	p.on(source, "mkdir", "-p", saves)
	addGuest(t, b)
	defer removeGuest(t, b)
	set := func(name, value string, more ...string) {
		args := []string{"crm_resource", "--resource=vm1", "--set-parameter=" + name, "--parameter-value=" + value}
		p.on(target, append(args, more...)...)
	}
	set("save_dir", saves)
	set("ladder", "live,save")
	p.home()
	rule := []string{"INPUT", "-p", "tcp", "--dport", "49152:49215", "-j", "REJECT", "--reject-with", "tcp-reset"}
	p.on(target, append([]string{"iptables", "-I"}, rule...)...)
	defer func() { p.on(target, append([]string{"iptables", "-D"}, rule...)...) }()

	p.keepsItsMemory()
	p.home() // live
	set("allow-migrate", "false", "--meta")
	set("ladder", "save")
	p.keepsItsMemory()
	set("allow-migrate", "true", "--meta")
	set("ladder", "live,save")
	p.home()

	p.on(source, "mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", saves)
	defer func() { p.on(source, "umount", saves) }()
	before := p.status()
	after := p.drained()
	if after.BootID == before.BootID || after.ForeignWrites != 0 || after.Boots != before.Boots+1 ||
		after.DiskCounterAtBoot < before.Counter {
		t.Errorf("without room for its memory, the guest was %+v and is %+v", before, after)
	}
	p.reports(source, "ended", "shutdown")
	p.home()
}

// home has the guest come back to its node, and Pacemaker at rest.
func (p pair) home() {
	p.t.Helper()
	p.on(source, "vmferry", "undrain")
	p.runsOn(source)
	p.on(target, "crm_resource", "--wait", "--timeout=60")
}

// keepsItsMemory drains the guest's home, and wants it saved there and restored at the other node.
func (p pair) keepsItsMemory() {
	p.t.Helper()
	before := p.status()
	after := p.drained()
	if after.BootID != before.BootID || after.ForeignWrites != 0 {
		p.t.Errorf("saved and restored, the guest was %+v and is %+v", before, after)
	}
	p.reports(source, "ended", "save")
	p.reports(target, "restored", "save")
	if left := p.on(source, "ls", saves); left != "" {
		p.t.Errorf("%s still has %q", saves, left)
	}
}

// drained empties the guest's home, and says how the guest is then.
func (p pair) drained() guest.Status {
	p.t.Helper()
	began := time.Now()
	out, code := p.b.try(p.t, "shell", source, "vmferry", "drain", "--window", "60s")
	p.t.Log(out)
	if code != 1 || !strings.Contains(out, "vm1: restarted elsewhere, on "+target) {
		p.t.Errorf("exit code %d: a guest that was not moved live is named, and is no success", code)
	}
	p.runsOn(target)
	p.t.Logf("the guest answers again %.1f s after the drain began", time.Since(began).Seconds())
	return p.status()
}

// reports wants the last record of the guest at the node to be this.
func (p pair) reports(node, outcome, means string) {
	p.t.Helper()
	lines := strings.Split(strings.TrimSpace(p.on(node, "cat", "/var/lib/vmferry/migrations.jsonl")), "\n")
	last := lines[len(lines)-1]
	p.t.Logf("%s: %s", node, last)
	if !strings.Contains(last, `"outcome":"`+outcome+`"`) || !strings.Contains(last, `"means":"`+means+`"`) {
		p.t.Errorf("the last record of %s does not say %s by %s", node, outcome, means)
	}
}
