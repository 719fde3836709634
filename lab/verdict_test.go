package lab_test

import (
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/lab/cluster"
)

// subject is a guest of which a verdict is asked before its node is rebooted.
type subject struct {
	resident
	fate hbplugin.Fate // what must be predicted, and what must happen
	word string        // a regular expression for what the verdict names: what goes along, or why not
}

// subjects are one guest of each verdict, and of each reason for one.
func subjects() []subject {
	iso := `<disk type='file' device='cdrom'><driver name='qemu' type='raw'/><source file='` + cluster.OnlyISO +
		`' startupPolicy='optional'/><target dev='hda' bus='ide'/><readonly/></disk>`
	card := func(kind, source string) string {
		return `<interface type='` + kind + `'><source ` + kind + `='` + source + `'/><model type='virtio'/></interface>`
	}
	away := func(node string) string {
		return `<rsc_location id="ID-away-` + node + `" rsc="ID" node="` + node + `" score="-INFINITY"/>`
	}
	here := `<rsc_location id="ID-here" rsc="ID" node="` + source + `" score="INFINITY" resource-discovery="exclusive"/>`
	return []subject{
		{resident{name: "mover", number: 71, real: true}, hbplugin.MovesLive, ""},
		{resident{name: "carried", number: 2, devices: diskDevice(ownDisk), params: map[string]string{"disks": "auto"}},
			hbplugin.MovesWith, `vda|carried\.qcow2`},
		{resident{name: "iso", number: 3, devices: diskDevice(sharedDisk) + iso}, hbplugin.MovesWith, `install\.iso|hda`},
		{resident{name: "vtpm", number: 12, devices: tpmDevice}, hbplugin.MovesLive, ""},
		{resident{name: "laddered", number: 13, params: map[string]string{"ladder": "shutdown"}},
			hbplugin.Restarts, `ladder`},
		{resident{name: "cold", number: 4, meta: map[string]string{"allow-migrate": "false"}},
			hbplugin.Restarts, `allow-migrate`},
		{resident{name: "snapped", number: 5, devices: diskDevice(sharedDisk)}, hbplugin.Restarts, `snapshot`},
		{resident{name: "pinned", number: 72, real: true, location: here}, hbplugin.Stops, `pinned-here`},
		{resident{name: "banned", number: 7, location: away(target) + away("node3")}, hbplugin.Stops, `banned-away-node2`},
		{resident{name: "failed", number: 11}, hbplugin.Stops, `fail`}, // on the other nodes, before
		{resident{name: "heavy", number: 8, utilization: "slots"}, hbplugin.Stops, `utilization|capacity|slots`},
		{resident{name: "bridged", number: 9, devices: card("bridge", cluster.OnlyBridge)},
			hbplugin.Stops, cluster.OnlyBridge},
		{resident{name: "netted", number: 10, devices: card("network", cluster.OnlyNetwork)},
			hbplugin.Stops, cluster.OnlyNetwork},
	}
}

// capacities are the nodes' utilization attributes: those that NodeUtilization sets, and one that the first node alone
// has.
var capacities = map[string][3]string{
	"cpu":         {"16", "16", "16"},
	"host_memory": {"4096", "4096", "4096"},
	"hv_memory":   {"0", "0", "0"},
	"slots":       {"1", "0", "0"},
}

// outcome is what became of a guest.
type outcome struct {
	Fate hbplugin.Fate // empty where it runs twice
	Node string        // where it runs in the end; empty where it does not
}

// testVerdicts asks for the verdicts of one guest of each kind, reboots their node, and compares. What was predicted
// must be what happens, for every guest, and whatever is not moved live must be named.
func testVerdicts(t *testing.T, b bench) {
	f := field{t, b}
	all := subjects()
	var guests []resident
	for _, s := range all {
		guests = append(guests, s.resident)
	}
	f.rule()
	f.place(guests)
	f.on(source, "virsh", "--connect", "qemu:///system", "snapshot-create-as", "snapped", "before-upgrade")
	for _, node := range []string{target, "node3"} {
		f.on(source, "attrd_updater", "--node="+node, "--name=fail-count-failed#start_0", "--update=INFINITY")
	}
	f.sized(guests)

	predicted := f.verdicts()
	warned := f.warnings()
	boots := f.b.state(t).Nodes[source].Boots
	_, _ = b.try(t, "shell", source, "systemctl", "reboot", "--no-wall") // its end may come before its answer
	await(t, source+" to boot again", 3*time.Minute, func() bool { return f.b.state(t).Nodes[source].Boots > boots })
	f.members()
	f.awaitAll(all)
	f.compare(all, predicted)
	f.named(all, warned)
	f.stoppedCleanly("pinned")
}

// compare holds each verdict against what has happened, and both against what is wanted.
func (f field) compare(all []subject, predicted map[string]hbplugin.Verdict) {
	right := 0
	for _, s := range all {
		v, now := predicted[s.name], f.outcome(s.name)
		if agree(v, now) {
			right++
		}
		f.t.Logf("%-8s predicted %q to %q (%s %s); happened: %q, runs on %q",
			s.name, v.Fate, v.To, strings.Join(v.With, ", "), v.Why, now.Fate, now.Node)
		for _, complaint := range s.complaints(v, now) {
			f.t.Errorf("guest %s: %s", s.name, complaint)
		}
	}
	f.t.Logf("prediction: %d of %d guests", right, len(all))
}

// named wants a line for each guest in the report, and a warning, from the daemon and from vmferry check, for each that
// was not moved live and for no other.
func (f field) named(all []subject, warned map[string]bool) {
	journal := f.on(source, "journalctl", "--boot=-1", "--no-pager", "--unit=vmferryd.service")
	report, _ := f.output(source, "vmferry", "report")
	for _, s := range all {
		live, name := s.fate.KeepsRunning(), `\b`+s.name+`\b`
		if !regexp.MustCompile(name).MatchString(report) {
			f.t.Errorf("guest %s: vmferry report has no line for it", s.name)
		}
		if warned[s.name] == live {
			f.t.Errorf("guest %s: moves live: %v; vmferry check warns: %v", s.name, live, warned[s.name])
		}
		if said := regexp.MustCompile(`level=warning .*` + name).MatchString(journal); said == live {
			f.t.Errorf("guest %s: moves live: %v; vmferryd warns: %v", s.name, live, said)
		}
	}
	if strings.Contains(journal, "read-only file system") {
		f.t.Error("vmferryd may not write where it tries to")
	}
	if f.t.Failed() {
		f.t.Logf("vmferryd had said:\n%s\nvmferry report:\n%s\n%s", journal, report, f.monitor())
	}
}

// agree reports whether what was predicted has happened.
func agree(v hbplugin.Verdict, o outcome) bool {
	// What went along is not seen in the end.
	alike := v.Fate != "" && v.Fate == o.Fate || v.Fate == hbplugin.MovesWith && o.Fate == hbplugin.MovesLive
	return alike && (v.To == "" || !v.Fate.KeepsRunning() || v.To == o.Node)
}

// complaints are what is wrong with a verdict and with what happened.
func (s subject) complaints(v hbplugin.Verdict, o outcome) []string {
	var all []string
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if v.Fate != s.fate {
		add("predicted %q, want %q", v.Fate, s.fate)
	}
	if !agree(v, o) {
		add("predicted %q to %q, and it was %q, on %q", v.Fate, v.To, o.Fate, o.Node)
	}
	if o.Node == "" {
		add("runs nowhere in the end")
	}
	if words := strings.Join(append(v.With, v.Why), "; "); s.word != "" && !regexp.MustCompile(s.word).MatchString(words) {
		add("the verdict's words %q do not match %q", words, s.word)
	}
	if v.Fate != "" && !v.Fate.KeepsRunning() && v.Remedy == "" {
		add("nothing is said of what to do")
	}
	return all
}

// rule has Pacemaker place by utilization, as where NodeUtilization is used, and gives all nodes pools for the disks
// that are copied and for ISO images, of which only the first node has one.
func (f field) rule() {
	f.on(source, "crm_attribute", "--type=crm_config", "--name=placement-strategy", "--update=utilization")
	// Else the fence devices go to the emptiest node after each move, and Pacemaker is never at rest.
	f.on(source, "crm_attribute", "--type=rsc_defaults", "--name=resource-stickiness", "--update=1000")
	for i, node := range f.b.nodes(f.t) {
		for name, values := range capacities {
			f.on(source, "crm_attribute", "--node="+node, "--utilization", "--name="+name, "--update="+values[i])
		}
		for name, dir := range map[string]string{"guests": path.Dir(ownDisk), "iso": path.Dir(cluster.OnlyISO)} {
			f.on(node, "mkdir", "--parents", dir)
			for _, verb := range [][]string{
				{"pool-define-as", name, "dir", "--target", dir}, {"pool-autostart", name}, {"pool-start", name},
			} {
				f.on(node, append([]string{"virsh", "--quiet"}, verb...)...)
			}
		}
	}
}

// sized waits until the agent tells Pacemaker how large the guests are, and wants them to run on in spite of it. On a
// busy machine it gives some of them up for five minutes.
func (f field) sized(guests []resident) {
	f.t.Helper()
	await(f.t, "the agent to set the guests' utilization", 90*time.Second, func() bool {
		return strings.Contains(f.on(source, "cibadmin", "--query", "--scope=resources"), `name="cpu"`)
	})
	f.on(source, "crm_resource", "--wait", "--timeout=60")
	for _, r := range guests {
		if state := f.state(source, r.name); !strings.HasPrefix(state, "running") {
			f.t.Fatalf("guest %s is %q since its utilization is set:\n%s", r.name, state, f.monitor())
		}
	}
}

// verdicts are those of vmferry plan, by resource.
func (f field) verdicts() map[string]hbplugin.Verdict {
	f.t.Helper()
	out, code := f.output(source, "vmferry", "plan", "--json", "--no-measure", "--bandwidth", "100")
	var plan struct {
		Steps []struct {
			Resource string
			Verdict  hbplugin.Verdict
		}
	}
	if err := json.Unmarshal([]byte(out), &plan); err != nil {
		f.t.Fatalf("vmferry plan: exit code %d, %v\n%s", code, err, out)
	}
	if code != 1 {
		f.t.Errorf("vmferry plan: exit code %d, want 1: not every guest moves live", code)
	}
	predicted := map[string]hbplugin.Verdict{}
	for _, s := range plan.Steps {
		predicted[s.Resource] = s.Verdict
	}
	return predicted
}

// warnings are the guests whose verdict is a warning or a problem to vmferry check.
func (f field) warnings() map[string]bool {
	f.t.Helper()
	out, code := f.output(source, "vmferry", "check", "--json")
	var check struct {
		Checks []struct {
			Check, About, Grade, Found string
			Verdict                    *hbplugin.Verdict
		}
	}
	if err := json.Unmarshal([]byte(out), &check); err != nil {
		f.t.Fatalf("vmferry check: exit code %d, %v\n%s", code, err, out)
	}
	warned := map[string]bool{}
	for _, c := range check.Checks {
		f.t.Logf("check %s %s: %s: %s", c.Check, c.About, c.Grade, c.Found)
		if c.Verdict != nil {
			warned[c.Verdict.Resource] = c.Grade != "ok"
		}
	}
	return warned
}

// awaitAll waits until all guests run again. One that does not is a matter of the comparison.
func (f field) awaitAll(all []subject) {
	f.t.Helper()
	missing := func() bool {
		return slices.ContainsFunc(all, func(s subject) bool { return f.outcome(s.name).Node == "" })
	}
	for deadline := time.Now().Add(2 * time.Minute); missing() && time.Now().Before(deadline); {
		time.Sleep(time.Second)
	}
}

// outcome finds out what became of a guest whose node was rebooted and is back. Nothing moves it home again.
func (f field) outcome(name string) outcome {
	f.t.Helper()
	var o outcome
	for _, node := range f.b.nodes(f.t) {
		state := f.state(node, name)
		if !strings.HasPrefix(state, "running") {
			continue
		}
		if o.Node != "" {
			return outcome{Node: o.Node + " and " + node}
		}
		o.Node = node
		switch {
		case node == source:
			o.Fate = hbplugin.Stops // and started again when the node was back
		case state == "running (migrated)":
			o.Fate = hbplugin.MovesLive
		default:
			o.Fate = hbplugin.Restarts
		}
	}
	return o
}

// stoppedCleanly wants a guest to have been shut down by its power button.
func (f field) stoppedCleanly(name string) {
	f.t.Helper()
	out := f.on(source, "journalctl", "--boot=-1", "--no-pager", "--identifier=vmferry-agent")
	if !slices.ContainsFunc(strings.Split(out, "\n"), func(line string) bool {
		return strings.Contains(line, name) && strings.Contains(line, "stopped by shutdown")
	}) {
		f.t.Errorf("guest %s was not shut down cleanly:\n%s", name, out)
	}
}

func TestAgree(t *testing.T) {
	for _, c := range []struct {
		predicted hbplugin.Verdict
		was       outcome
		want      bool
	}{
		{hbplugin.Verdict{Fate: hbplugin.MovesLive, To: "node2"}, outcome{hbplugin.MovesLive, "node2"}, true},
		{hbplugin.Verdict{Fate: hbplugin.MovesWith}, outcome{hbplugin.MovesLive, "node3"}, true},
		{hbplugin.Verdict{Fate: hbplugin.MovesLive, To: "node2"}, outcome{hbplugin.MovesLive, "node3"}, false},
		{hbplugin.Verdict{Fate: hbplugin.MovesLive, To: "node2"}, outcome{hbplugin.Restarts, "node2"}, false},
		{hbplugin.Verdict{Fate: hbplugin.Restarts, To: "node2"}, outcome{hbplugin.Restarts, "node3"}, true},
		{hbplugin.Verdict{Fate: hbplugin.Restarts}, outcome{hbplugin.MovesLive, "node2"}, false},
		{hbplugin.Verdict{Fate: hbplugin.Stops}, outcome{hbplugin.Stops, "node1"}, true},
		{hbplugin.Verdict{Fate: hbplugin.Stops}, outcome{hbplugin.Restarts, "node2"}, false},
		{hbplugin.Verdict{Fate: hbplugin.MovesLive}, outcome{"", "node2 and node3"}, false},
		{hbplugin.Verdict{}, outcome{}, false},
		{hbplugin.Verdict{Fate: hbplugin.Unknown}, outcome{hbplugin.MovesLive, "node2"}, false},
	} {
		if got := agree(c.predicted, c.was); got != c.want {
			t.Errorf("%+v, %+v: %v", c.predicted, c.was, got)
		}
	}
}
