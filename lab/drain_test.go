package lab_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vmferry/vmferry/lab/guest"
	"github.com/vmferry/vmferry/lab/scenario"
	"github.com/vmferry/vmferry/migrate/history"
	"github.com/vmferry/vmferry/migrate/record"
)

// drained is the guests of a node that is emptied, the dearest last. They stay where they were moved.
type drained struct {
	t      *testing.T
	b      bench
	guests []string
}

// drainPrimitive is a guest as a resource that has a priority and is shut down in ten seconds.
func drainPrimitive(name string, priority int) string {
	param := func(key, value string) string {
		return fmt.Sprintf(`<nvpair id="%s-%s" name="%s" value="%s"/>`, name, key, key, value)
	}
	return strings.NewReplacer(
		"vm1", name,
		"</instance_attributes>", param("drain_priority", strconv.Itoa(priority))+param("shutdown_timeout",
			"10")+"</instance_attributes>",
		"</meta_attributes>", param("resource-stickiness", "1000")+"</meta_attributes>",
	).Replace(guestPrimitive)
}

// testDrain empties nodes that run several guests: they move in the order of their priorities, whatever happens to
// the daemon that keeps it, and a guest that cannot move within the window does not delay the others.
func testDrain(t *testing.T, b bench) {
	d := drained{t: t, b: b}
	defer d.remove()
	// Else Pacemaker takes the load of the whole machine for the node's, and asks for one guest after the other.
	for name, value := range map[string]string{"load-threshold": "10000%", "node-action-limit": "32"} {
		d.on(source, "crm_attribute", "--type=crm_config", "--name="+name, "--update="+value)
		defer d.on(target, "crm_attribute", "--type=crm_config", "--name="+name, "--delete")
	}
	d.place(4)
	for _, part := range []struct {
		name string
		do   func(drained)
	}{
		{"beyond logind's patience", drained.beyondLogind},
		{"while the daemon dies, and is stopped", drained.withoutTheDaemon},
		{"in the order of the priorities", drained.inOrder}, // Pacemaker takes half a minute to apply the limits
		{"in too short a window", drained.inAWindow},
	} {
		if !t.Run(part.name, func(t *testing.T) { part.do(drained{t, b, d.guests}) }) {
			return
		}
	}
}

func (d drained) on(node string, args ...string) string {
	d.t.Helper()
	return d.b.run(d.t, append([]string{"shell", node}, args...)...)
}

// place makes the guests and has Pacemaker start them on the first node.
func (d *drained) place(n int) {
	d.t.Helper()
	qemuImg := func(_ context.Context, program string, args ...string) error {
		d.on(source, append([]string{program}, args...)...)
		return nil
	}
	var primitives, places strings.Builder
	kind := scenario.Kind{Name: "drain", First: 61, MemoryMiB: guest.MinMemoryMiB}
	for i := range n {
		spec := kind.Spec(i)
		text, err := guest.Domain(spec)
		if err == nil {
			err = os.WriteFile(filepath.Join(d.b.dir, "shared", "guests", spec.Name+".xml"), []byte(text), 0o644)
		}
		if err == nil {
			err = guest.CreateDisk(d.t.Context(), qemuImg, spec.Disk)
		}
		if err != nil {
			d.t.Fatal(err)
		}
		d.guests = append(d.guests, spec.Name)
		primitives.WriteString(drainPrimitive(spec.Name, i))
		fmt.Fprintf(&places, `<rsc_location id="%[1]s-here" rsc="%[1]s" node="%[2]s" score="100"/>`, spec.Name, source)
	}
	d.on(source, "cibadmin", "--modify", "--allow-create", "--scope=configuration",
		"--xml-text=<configuration><resources>"+primitives.String()+"</resources><constraints>"+places.String()+"</constraints></configuration>")
	await(d.t, "the guests to boot", 90*time.Second, func() bool {
		return !slices.ContainsFunc(d.guests, func(g string) bool {
			out, _ := d.b.try(d.t, "shell", source, "virsh", "--connect", "qemu:///system", "dommemstat", g)
			return rss(out) < 60<<10
		})
	})
}

// remove stops the guests and takes them away.
func (d *drained) remove() {
	for _, g := range d.guests {
		d.on(target, "crm_resource", "--resource="+g, "--meta", "--set-parameter=target-role", "--parameter-value=Stopped")
	}
	d.on(target, "crm_resource", "--wait", "--timeout=120")
	for _, g := range d.guests {
		for _, path := range []string{"//rsc_location[@rsc='%s']", "//primitive[@id='%s']"} {
			d.on(target, "cibadmin", "--delete-all", "--force", "--xpath="+fmt.Sprintf(path, g))
		}
	}
	d.on(target, "crm_resource", "--wait", "--timeout=60")
}

// records are those of a node's migrations since a number of them.
func (d drained) records(node string, since int) []record.Record {
	d.t.Helper()
	file := filepath.Join(d.t.TempDir(), "records")
	text, _ := d.b.try(d.t, "shell", node, "cat", "/var/lib/vmferry/migrations.jsonl") // there may be none yet
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		d.t.Fatal(err)
	}
	all, err := history.ReadRecords(file)
	if err != nil {
		d.t.Fatal(err)
	}
	return all[min(since, len(all)):]
}

// turn is when a move had its turn, or began without one.
func turn(r record.Record) time.Time {
	for _, s := range r.Steps {
		if s.Name == "slot" {
			return s.Begin.Add(time.Duration(s.MS * float64(time.Millisecond)))
		}
	}
	return r.Started
}

// state is what a node's libvirt says of a guest.
func (d drained) state(node, guest string) string {
	d.t.Helper()
	out, _ := d.b.try(d.t, "shell", node, "virsh", "--connect", "qemu:///system", "domstate", "--reason", guest)
	return strings.TrimSpace(out)
}

// arrived checks that each guest runs on the node, and was moved there live.
func (d drained) arrived(node string, guests []string) {
	d.t.Helper()
	for _, g := range guests {
		if state := d.state(node, g); state != "running (migrated)" {
			d.t.Errorf("guest %s at %s: %s", g, node, state)
		}
	}
}

// tell logs a node's moves since a number of them, in the order in which they had their turns, and returns them.
func (d drained) tell(node string, since int) []record.Record {
	d.t.Helper()
	moves := d.records(node, since)
	slices.SortFunc(moves, func(a, b record.Record) int { return turn(a).Compare(turn(b)) })
	for _, m := range moves {
		d.t.Logf("%s: turn %.2f s, end %.2f s after the first, %s: %s %s", m.Guest,
			turn(m).Sub(turn(moves[0])).Seconds(), m.Ended.Sub(turn(moves[0])).Seconds(), m.Outcome,
			strings.Join(m.Notes, "; "), m.Error)
	}
	return moves
}

func (d drained) inOrder() {
	before := len(d.records(source, 0))
	d.t.Log(d.on(source, "vmferry", "drain"))
	d.on(source, "vmferry", "undrain")
	d.arrived(target, d.guests)
	moves := d.tell(source, before)
	if len(moves) != len(d.guests) {
		d.t.Fatalf("%d moves are recorded, want %d", len(moves), len(d.guests))
	}
	// Those that have their turns at the same time begin in any order, and nobody waits for one that was not requested.
	const same = 200 * time.Millisecond
	for i, m := range moves {
		for _, dearer := range moves[i+1:] {
			if dearer.Guest > m.Guest && dearer.Started.Add(2*same).Before(turn(m)) && turn(dearer).Sub(turn(m)) > same {
				d.t.Errorf("%s had its turn before %s", m.Guest, dearer.Guest)
			}
		}
	}
}

// withoutTheDaemon drains the other node. Its daemon is killed when the first guest has left, and comes back; then it
// is stopped.
func (d drained) withoutTheDaemon() {
	before := len(d.records(target, 0))
	cmd := d.b.command(d.t.Context(), "shell", target, "vmferry", "drain")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	left := func(n int) func() bool {
		return func() bool {
			return n <= len(slices.DeleteFunc(slices.Clone(d.guests),
				func(g string) bool { return len(find(d.t, target, qemuOf(g))) > 0 }))
		}
	}
	isDaemon := func(p proc) bool { return filepath.Base(p.args[0]) == "vmferryd" }
	await(d.t, "the first guest to leave", 60*time.Second, left(1))
	killed := find(d.t, target, isDaemon)
	send(d.t, syscall.SIGKILL, killed)
	await(d.t, "the daemon to come back", 30*time.Second, func() bool {
		now := find(d.t, target, isDaemon)
		return len(killed) == 1 && len(now) == 1 && now[0].pid != killed[0].pid
	})
	await(d.t, "another guest to leave", 60*time.Second, left(2))
	d.on(target, "systemctl", "stop", "vmferryd.service")
	if err := cmd.Wait(); err != nil {
		d.t.Errorf("vmferry drain: %v\n%s", err, out.String())
	}
	d.on(target, "systemctl", "start", "vmferryd.service")
	d.on(target, "vmferry", "undrain")
	d.tell(target, before)
	d.arrived(source, d.guests)
}

// rebooted waits until a node that was rebooted is back.
func (d drained) rebooted(node, boots string) {
	d.t.Helper()
	await(d.t, node+" to come back", 90*time.Second, func() bool {
		out, code := d.b.try(d.t, "shell", node, "crm_mon", "--one-shot")
		return code == 0 && nodeBoots(d.t, d.b) != boots && strings.Contains(out, "Online: [ node1 node2 ]")
	})
}

// online waits until both nodes are members of Pacemaker.
func (d drained) online() {
	d.t.Helper()
	await(d.t, "both nodes to be members", 90*time.Second, func() bool {
		out, code := d.b.try(d.t, "shell", target, "crm_mon", "--one-shot")
		return code == 0 && strings.Contains(out, "Online: [ node1 node2 ]")
	})
}

// beyondLogind reboots the first node when logind waits for much less than the guests need: they continue moving
// while Pacemaker stops.
func (d drained) beyondLogind() {
	const file = "/etc/systemd/logind.conf.d/99-lab.conf"
	known := strings.TrimSpace(d.on(source, "systemctl", "show", "--property=StatusText", "vmferryd.service"))
	d.on(source, "mkdir", "--parents", filepath.Dir(file))
	d.on(source, "bash", "-c", "printf '[Login]\nInhibitDelayMaxSec=2\n' > "+file)
	d.on(source, "systemctl", "restart", "systemd-logind.service")
	await(d.t, "vmferryd to know", 30*time.Second, func() bool {
		out := d.on(source, "systemctl", "show", "--property=StatusText", "vmferryd.service")
		return strings.Contains(out, "watching") && !strings.Contains(out, known)
	})
	boots, before := nodeBoots(d.t, d.b), len(d.records(source, 0))
	d.on(source, "systemctl", "reboot", "--no-wall")
	await(d.t, "the guests to leave", 60*time.Second, func() bool {
		return !slices.ContainsFunc(d.guests, func(g string) bool { return d.state(target, g) != "running (migrated)" })
	})
	d.rebooted(source, boots)
	d.tell(source, before)
	d.on(source, "rm", file)
	d.on(source, "systemctl", "restart", "systemd-logind.service")
}

// inAWindow reboots the other node, with one guest that is much too slow for the window: it is shut down in
// time and started elsewhere, and the others are moved as if there was none.
func (d drained) inAWindow() {
	const window, config = 25 * time.Second, "/etc/vmferry/vmferryd.toml"
	slow, others := d.guests[len(d.guests)-1], d.guests[:len(d.guests)-1] // which is the dearest
	d.on(target, "crm_resource", "--resource="+slow, "--set-parameter=migration_speed", "--parameter-value=1")
	d.on(target, "bash", "-c", fmt.Sprintf("echo 'window = \"%s\"' > %s", window, config))
	d.on(target, "systemctl", "restart", "vmferryd.service")
	d.on(target, "crm_resource", "--wait", "--timeout=60")
	boots, begun, before := nodeBoots(d.t, d.b), time.Now(), len(d.records(target, 0))
	d.on(target, "systemctl", "reboot", "--no-wall")
	await(d.t, "the slow guest to be started on "+source, window+10*time.Second,
		func() bool { return d.state(source, slow) == "running (booted)" })
	d.t.Logf("%s ran on %s after %s", slow, source, time.Since(begun).Round(100*time.Millisecond))
	d.arrived(source, others)
	d.rebooted(target, boots)
	d.tell(target, before)
	d.on(target, "rm", config)
	d.on(target, "systemctl", "restart", "vmferryd.service")
}
