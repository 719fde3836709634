package lab_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vmferry/vmferry/lab/guest"
	"github.com/vmferry/vmferry/migrate/record"
)

// busyVM1 is the definition of vm1 as a guest that rewrites 60 MiB/s of 32 MiB.
const busyVM1 = "/shared/guests/vm1-busy.xml"

// ports are those of QEMU's migration data.
const ports = "49152:49215"

// link breaks the link between the nodes for the memory of guests, and nothing else; and mends it.
type link struct {
	t *testing.T
	b bench
}

// rule inserts (-I) or deletes (-D) a rule for the memory on its way in.
func (l link) rule(node, verb, direction string, target ...string) {
	l.t.Helper()
	l.b.run(l.t, append([]string{"shell", node, "iptables", "--wait", verb, "INPUT", "--protocol=tcp", direction, ports,
		"--jump"}, target...)...)
}

// cut drops the memory at the target.
func (l link) cut() (mend func()) {
	l.rule(target, "-I", "--dport", "DROP")
	return func() { l.rule(target, "-D", "--dport", "DROP") }
}

// slow leaves 200 kB/s of the source's link, to the cluster manager too.
func (l link) slow() (mend func()) { return l.bound("1600kbit", "32kb") }

// narrow leaves 8 MB/s of it: a post-copy has all that there is, and is to be seen under way.
func (l link) narrow() (widen func()) { return l.bound("64mbit", "256kb") }

func (l link) bound(rate, burst string) (lift func()) {
	l.b.run(l.t, "shell", source, "tc", "qdisc", "add", "dev", "host0", "root", "tbf", "rate", rate, "burst", burst,
		"latency", "200ms")
	return func() { l.b.run(l.t, "shell", source, "tc", "qdisc", "delete", "dev", "host0", "root") }
}

// testFaults breaks the link and what works on it in the middle of a copy and of a post-copy.
func testFaults(t *testing.T, b bench) {
	makeBusy(t, b)
	r := killer{t, b}
	defer r.off()
	for _, c := range []struct {
		name  string
		fault func(link) func()
		words string
	}{
		{"link cut in the copy", link.cut, "the link has carried nothing"},
		{"link slowed in the copy", link.slow, "the link carries"},
	} {
		t.Run(c.name, func(t *testing.T) { faultInCopy(t, b, c.fault, c.words) })
	}
	inPostCopy := []struct {
		name  string
		fault func(t *testing.T, b bench) (mend func())
	}{
		{"link cut in the post-copy", func(t *testing.T, b bench) func() { return link{t, b}.cut() }},
		{"agent killed in the post-copy",
			killInPostCopy(func(p proc) bool { return p.hasVariable(mark) && p.isAgent() }, source)},
		{"libvirtd of node1 killed in the post-copy", killInPostCopy(proc.isLibvirtd, source)},
		{"libvirtd of node2 killed in the post-copy", killInPostCopy(proc.isLibvirtd, target)},
	}
	for i, c := range inPostCopy {
		if shareOf(t).hasOf(i, len(inPostCopy)) {
			t.Run(c.name, func(t *testing.T) { faultInPostCopy(t, b, c.fault) })
		}
	}
}

// mark is in the environment of the agent that is to be killed.
const mark = "VMFERRY_LAB_MARK=faults"

// isAgent reports whether it is the agent's program, and not one that runs it.
func (p proc) isAgent() bool {
	name := filepath.Base(p.args[0])
	return name == "Domain" || name == "agent" || name == "vmferry-agent"
}

func killInPostCopy(is func(proc) bool, node string) func(*testing.T, bench) func() {
	return func(t *testing.T, b bench) func() {
		send(t, syscall.SIGKILL, find(t, node, is))
		return func() { killer{t, b}.libvirtd(node) }
	}
}

// makeBusy writes the busy guest's definition.
func makeBusy(t *testing.T, b bench) {
	t.Helper()
	guests := filepath.Join(b.dir, "shared", "guests")
	idle, err := os.ReadFile(filepath.Join(guests, "vm1.xml"))
	if err != nil {
		t.Fatal(err)
	}
	busy := bytes.Replace(idle, []byte("vmferry.name="), []byte("vmferry.dirty=60 vmferry.dirtyset=32 vmferry.name="), 1)
	if err := os.WriteFile(filepath.Join(guests, filepath.Base(busyVM1)), busy, 0o644); err != nil {
		t.Fatal(err)
	}
}

// faultInCopy expects the guest to continue where it is, as reported before the window is over, and the next
// migration to work.
func faultInCopy(t *testing.T, b bench, fault func(link) func(), words string) {
	r := killer{t, b}
	k := kill{action: "migrate_to", step: "copying"}
	r.prepare(k)
	pid := qemuPID(t, b)
	agent, ended, out := r.halt(k, source, []string{"migration_speed=4", "CRM_meta_timeout=60000"})
	above := agent.ancestors()
	begun := time.Now()
	mend := fault(link{t, b})
	send(t, syscall.SIGCONT, []proc{agent})
	await(t, "the agent's end", 60*time.Second, func() bool {
		wakeStopped(t, above)
		return isClosed(ended)
	})
	took := time.Since(begun)
	mend()
	if now := qemuPID(t, b); now != pid {
		t.Fatalf("the guest was %s and is %s\n%s", pid, now, out)
	}
	if took > 50*time.Second {
		t.Errorf("it took %v of 60 s to see that it was in vain", took)
	}
	if rec := lastRecord(t, b); rec.Outcome != record.Stayed || !strings.Contains(rec.Error, words) {
		t.Errorf("on record: %s, %q; want %q", rec.Outcome, rec.Error, words)
	}
	r.atMostOne()
	state := b.run(t, "shell", source, "virsh", "--connect", "qemu:///system", "domstate", "vm1")
	if strings.TrimSpace(state) != "running" {
		t.Errorf("the guest is %s", state)
	}
	r.must(source, "migrate_to")
}

// faultInPostCopy expects the guest at the target, with its memory, by this call or by the next.
func faultInPostCopy(t *testing.T, b bench, fault func(*testing.T, bench) func()) {
	r := killer{t, b}
	r.off()
	r.must(source, "start", "config="+busyVM1)
	was := bootID(t, b)
	defer link{t, b}.narrow()()
	params := []string{"config=" + busyVM1, "ladder=live,postcopy", "blackout_budget=10", "migration_speed=8",
		"CRM_meta_timeout=110000"}
	args := append(r.environ(source, "migrate_to", params), mark, agentFile, "migrate_to")
	cmd := b.command(t.Context(), append([]string{"shell", source}, args...)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = cmd.Wait() }()
	await(t, "the post-copy", 100*time.Second, func() bool {
		state, _ := b.try(t, "shell", target, "virsh", "--connect", "qemu:///system", "domstate", "--reason", "vm1")
		return strings.Contains(state, "post-copy") || isClosed(done)
	})
	if isClosed(done) {
		t.Fatalf("it ended before the post-copy:\n%s", out.String())
	}
	mend := fault(t, b)
	time.Sleep(4 * time.Second) // for so long the link is gone
	mend()
	await(t, "the agent's end", 110*time.Second, func() bool { return isClosed(done) })
	t.Logf("it said: %s", strings.TrimSpace(out.String()))
	if code := cmd.ProcessState.ExitCode(); code != 0 {
		r.libvirtd(source)
		r.must(source, "migrate_to", params...)
	}
	if nodes := r.executing(); len(nodes) != 1 || nodes[0] != target {
		t.Errorf("the guest executes on %v", nodes)
	}
	if now := bootID(t, b); now != was {
		t.Errorf("the guest was boot %s and is %s", was, now)
	}
}

// bootID waits until vm1 says which boot it is. Its address is one of the lab's, so that a node asks.
func bootID(t *testing.T, b bench) string {
	t.Helper()
	var status guest.Status
	await(t, "the guest to answer", 60*time.Second, func() bool {
		out, _ := b.try(t, "shell", target, "timeout", "5", "bash", "-c",
			"cat </dev/tcp/10.77.0.101/"+strconv.Itoa(guest.StatusPort))
		return json.Unmarshal([]byte(out), &status) == nil && status.BootID != ""
	})
	return status.BootID
}

// lastRecord is what the source has on record of its last migration.
func lastRecord(t *testing.T, b bench) record.Record {
	t.Helper()
	var rec record.Record
	for line := range strings.Lines(b.run(t, "shell", source, "cat", "/var/lib/vmferry/migrations.jsonl")) {
		if err := json.Unmarshal([]byte(line), &rec); err != nil {
			t.Fatal(err)
		}
	}
	return rec
}
