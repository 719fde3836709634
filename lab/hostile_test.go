package lab_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/lab/guest"
	"github.com/vmferry/vmferry/lab/hostile"
	"github.com/vmferry/vmferry/lab/supervisor"
	"github.com/vmferry/vmferry/migrate/blackout"
)

// The user without rights, his program, and the folder of images in which he may create files.
const (
	mallory     = "mallory"
	hostileFile = "/run/" + hostile.ProgramName
	publicDir   = "/shared/public"
)

// besieged is two nodes on which somebody attacks. The guest vm1 is real, and its home is the first node; the others
// boot nothing.
type besieged struct {
	pair
	units []string // of the attacks, as NODE and UNIT
	crowd int      // how many processes of the crowds can be seen
}

// The other guests: one runs on the second node, one nowhere, and of each of the littered ones the image lies beside
// what does not belong there.
var (
	residentThere  = resident{name: "there", number: 81}
	residentAbsent = resident{name: "absent", number: 82}
	littered       = []struct {
		name   string
		litter []string // KIND=SUFFIX, behind the image's path
	}{
		{"fifos", []string{"fifo=.vmferry", "fifo=.vmferry-old", "fifo=.vmferry-arriving"}},
		{"endless", []string{"endless=.vmferry", "endless=.vmferry-arriving"}},
		{"empties", []string{"empty=.vmferry", "empty=.vmferry-arriving", "empty=.vmferry-old"}},
		{"folders", []string{"folder=.vmferry", "folder=.vmferry-arriving"}},
	}
)

// testHostile attacks both nodes with what takes no rights, and lets Pacemaker, an operator and clients do their work
// meanwhile: no operation fails, no guest is taken for running or for lost, a reboot drains as on any other day, and
// what the daemon costs and says stays bounded.
func testHostile(t *testing.T, b bench) {
	h := &besieged{pair: pair{t, b}}
	h.prepare()
	defer h.giveBack()
	h.attack()
	for _, part := range []struct {
		name string
		do   func()
	}{
		{"probes and stops are right", h.judges},
		{"files beside an image", h.starts},
		{"nothing fails, and clients are served", h.quiet},
		{"a reboot drains", h.drains},
	} {
		ok := t.Run(part.name, func(t *testing.T) { h.t = t; part.do() })
		h.t = t
		if !ok {
			t.Log(h.said())
		}
	}
}

// prepare makes the user and the guests, and has Pacemaker start these.
func (h *besieged) prepare() {
	h.t.Helper()
	h.both("bash", "-euc", "useradd --create-home --shell=/bin/bash "+mallory+
		"; systemctl start user@$(id --user "+mallory+").service"+
		"; ln --symbolic --force /usr/sbin/fence_lab "+hostileFile)
	h.on(source, "mkdir", "--mode=1777", publicDir)
	primitives, places := guestPrimitive, `<rsc_location id="vm1-here" rsc="vm1" node="`+source+`" score="100"/>`
	for _, r := range []resident{residentThere, residentAbsent} {
		h.define(r)
		force := `<nvpair id="` + r.name + `-force" name="force_stop" value="true"/></instance_attributes>`
		primitives += strings.NewReplacer("vm1", r.name, "</instance_attributes>", force).Replace(guestPrimitive)
		places += fmt.Sprintf(`<rsc_location id="%[1]s-here" rsc="%[1]s" node="%[2]s" score="100"/>`, r.name, target)
	}
	primitives = strings.Replace(primitives, `<meta_attributes id="absent-meta">`,
		`<meta_attributes id="absent-meta"><nvpair id="absent-role" name="target-role" value="Stopped"/>`, 1)
	h.on(source, "cibadmin", "--modify", "--allow-create", "--scope=configuration",
		"--xml-text=<configuration><resources>"+primitives+"</resources><constraints>"+places+
			"</constraints></configuration>")
	h.runsOn(source)
	h.on(source, "crm_resource", "--wait", "--timeout=90")
}

// define writes a guest's definition to the shared storage.
func (h *besieged) define(r resident) {
	h.t.Helper()
	text, err := r.domain()
	if err == nil {
		err = os.WriteFile(filepath.Join(h.b.dir, "shared", "guests", r.name+".xml"), []byte(text), 0o644)
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

// giveBack ends the attacks and takes away what prepare made.
func (h *besieged) giveBack() {
	h.cease()
	for _, r := range []string{residentThere.name, residentAbsent.name, "vm1"} {
		h.on(target, "crm_resource", "--resource="+r, "--meta", "--set-parameter=target-role", "--parameter-value=Stopped")
	}
	h.on(target, "crm_resource", "--wait", "--timeout=90")
	for _, r := range []string{residentThere.name, residentAbsent.name, "vm1"} {
		for _, path := range []string{"//rsc_location[@rsc='%s']", "//primitive[@id='%s']"} {
			h.on(target, "cibadmin", "--delete-all", "--force", "--xpath="+fmt.Sprintf(path, r))
		}
	}
	h.on(target, "crm_resource", "--wait", "--timeout=90")
	h.both("bash", "-c", "systemctl stop user@$(id --user "+mallory+").service; rm -rf "+publicDir+
		"; for i in 1 2 3 4 5 6 7 8 9; do userdel --remove --force "+mallory+" 2>/dev/null && break; sleep 0.5; done")
}

// guests are those that the crowds claim to be, as NAME,UUID.
func (h *besieged) guests() []string {
	h.t.Helper()
	uuid := regexp.MustCompile(`<uuid>([^<]+)</uuid>`)
	var all []string
	for _, name := range []string{"vm1", residentThere.name, residentAbsent.name} {
		text, err := os.ReadFile(filepath.Join(h.b.dir, "shared", "guests", name+".xml"))
		found := uuid.FindSubmatch(text)
		if err != nil || found == nil {
			h.t.Fatalf("guest %s has no UUID: %v", name, err)
		}
		all = append(all, "--guest="+name+","+string(found[1]))
	}
	return all
}

// attack begins everything on both nodes.
func (h *besieged) attack() {
	h.t.Helper()
	for _, node := range []string{source, target} {
		h.crowds(node)
		h.unit(node, "bus", []string{"--uid=" + mallory}, "bus", "vmferryd")
	}
	h.crowd = h.members()
	h.unit(source, "silent", []string{"--uid=" + mallory}, "silent", "10.77.0.101:"+strconv.Itoa(guest.BlackoutPort))
}

// members is how many processes of the crowds live that have not lost their main threads.
func (h *besieged) members() (n int) {
	h.t.Helper()
	for _, node := range []string{source, target} {
		n += len(find(h.t, node, func(p proc) bool { return p.hasVariable(hostile.Waits) }))
	}
	return n
}

// crowds puts a crowd where each kind of neighbour has its processes: in a user's session, below his own service
// manager in a control group that is called like a guest's, in a service, and in a container as root.
func (h *besieged) crowds(node string) {
	h.t.Helper()
	const scope = `machine.slice/machine-qemu\x2d7\x2dvm1.scope`
	crowd := func(dir string, more ...string) []string {
		h.on(node, "bash", "-c", "rm -rf "+dir+" && install --directory --mode=777 "+dir)
		return append(append([]string{"crowd", "--dir", dir}, h.guests()...), more...)
	}
	login := []string{"--uid=" + mallory, "--property=PAMName=runuser-l"}
	h.unit(node, "session", login, crowd("/run/hostile-session")...)
	h.unit(node, "service", []string{"--uid=nobody"}, crowd("/run/hostile-service")...)
	h.unit(node, "nested", []string{"--property=Delegate=yes"},
		crowd("/run/hostile-nested", "--cgroup", "lxc/"+scope)...)
	h.container(node, crowd("/run/hostile-docker"))
	// The service manager of the user, as the user would call it.
	own := append([]string{
		"runuser", "--user", mallory, "--", "env", "XDG_RUNTIME_DIR=/run/user/" + h.uid(node),
		"systemd-run", "--user", "--collect", "--quiet", "--unit=hostile-own", "--property=Type=notify",
		"--property=Delegate=yes", hostileFile,
	}, crowd("/run/hostile-own", "--cgroup", scope)...)
	h.on(node, own...)
}

// container has root run a part in a scope as Docker makes one for a container.
func (h *besieged) container(node string, args []string) {
	h.t.Helper()
	name := "docker-" + strings.Repeat("7", 64) + ".scope"
	h.on(node, append([]string{"bash", "-c", `"$@" </dev/null >/dev/null 2>&1 &`, "bash",
		"systemd-run", "--scope", "--collect", "--unit=" + name, hostileFile}, args...)...)
	await(h.t, "the container at "+node, 20*time.Second, func() bool {
		_, code := h.b.try(h.t, "shell", node, "test", "-e", "/run/hostile-docker/ready")
		return code == 0
	})
	h.units = append(h.units, node+" "+name)
}

func (h *besieged) uid(node string) string {
	h.t.Helper()
	return strings.TrimSpace(h.on(node, "id", "--user", mallory))
}

// unit runs a part of the attacker's program in a transient service of the system, and returns when it has begun.
func (h *besieged) unit(node, name string, how []string, args ...string) {
	h.t.Helper()
	name = "hostile-" + name + ".service"
	run := append([]string{"systemd-run", "--collect", "--quiet", "--unit=" + name, "--property=Type=notify"}, how...)
	h.on(node, append(append(run, hostileFile), args...)...)
	h.units = append(h.units, node+" "+name)
}

// cease ends the attacks.
func (h *besieged) cease() {
	h.t.Helper()
	for _, unit := range h.units {
		node, name, _ := strings.Cut(unit, " ")
		_, _ = h.b.try(h.t, "shell", node, "systemctl", "stop", name) // a node that was rebooted has none
	}
	for _, node := range []string{source, target} {
		_, _ = h.b.try(h.t, "shell", node, "systemctl", "stop", "user@"+h.uid(node)+".service")
	}
}

// call runs an action of the agent's for a guest. A data segment of 512 MiB is more than any needs.
func (h *besieged) call(node, name, action string, params ...string) (string, int, time.Duration) {
	h.t.Helper()
	env := killer{h.t, h.b}.environ(node, action, append([]string{
		"config=/shared/guests/" + name + ".xml", "force_stop=true", "CRM_meta_timeout=20000",
	}, params...))
	env = append(env, "OCF_RESOURCE_INSTANCE="+name)
	begun := time.Now()
	command := append([]string{"shell", node, "prlimit", "--data=536870912"}, env...)
	out, code := h.b.try(h.t, append(command, agentFile, action)...)
	took := time.Since(begun)
	h.t.Logf("%s of %s at %s: exit code %d after %.1f s %s",
		action, name, node, code, took.Seconds(), strings.TrimSpace(out))
	return out, code, took
}

// judges asks for every guest on every node, through libvirt and, for what nobody but the processes tells, without it.
func (h *besieged) judges() {
	ask := func(how string) {
		for _, c := range []struct {
			node, name string
			code       int
		}{
			{source, "vm1", 0}, {target, "vm1", 7}, {source, residentThere.name, 7}, {target, residentThere.name, 0},
			{source, residentAbsent.name, 7}, {target, residentAbsent.name, 7},
		} {
			if out, code, _ := h.call(c.node, c.name, "monitor"); code != c.code {
				h.t.Errorf("%s: monitor of %s at %s: exit code %d, want %d\n%s", how, c.name, c.node, code, c.code, out)
			}
		}
		for _, node := range []string{source, target} {
			if out, code, took := h.call(node, residentAbsent.name, "stop"); code != 0 || took > 5*time.Second {
				h.t.Errorf("%s: stop of a guest that does not run at %s: exit code %d after %v\n%s", how, node, code, took, out)
			}
		}
	}
	ask("with libvirt")
	end := outages[0].begin(h.t, h.b) // on the first node
	defer end()
	ask("without libvirt at " + source)
}

// starts starts guests beside whose images somebody has put what does not belong there, and one whose saved state is a
// link to a file of his.
func (h *besieged) starts() {
	for i, l := range littered {
		image := publicDir + "/" + l.name + ".qcow2"
		h.define(resident{name: l.name, number: 83 + i, devices: diskDevice(image)})
		h.on(source, "qemu-img", "create", "-q", "-f", "qcow2", image, "16M")
		args := []string{"runuser", "--user", mallory, "--", hostileFile, "litter",
			"text=" + publicDir + "/" + l.name + ".state"}
		for _, item := range l.litter {
			kind, suffix, _ := strings.Cut(item, "=")
			args = append(args, kind+"="+image+suffix)
		}
		h.on(source, args...)
		for _, action := range []string{"monitor", "start", "monitor", "stop", "monitor"} {
			want := map[string]int{"monitor": 7}[action]
			if action == "monitor" && len(find(h.t, source, qemuOf(l.name))) > 0 {
				want = 0
			}
			out, code, took := h.call(source, l.name, action, "disks=auto", "save_dir="+publicDir)
			if code != want || took > 15*time.Second {
				h.t.Errorf("%s beside %v: exit code %d after %v, want %d\n%s", action, l.litter, code, took, want, out)
			}
		}
	}
}

// daemon is what vmferryd costs at a node.
type daemonCost struct{ rssMiB, threads, restarts int }

func (h *besieged) cost(node string) daemonCost {
	h.t.Helper()
	out := h.on(node, "bash", "-c", `systemctl show --property=NRestarts vmferryd.service
cat /proc/$(systemctl show --property=MainPID --value vmferryd.service)/status`)
	var c daemonCost
	for line := range strings.Lines(out) {
		_, _ = fmt.Sscanf(line, "NRestarts=%d", &c.restarts)
		_, _ = fmt.Sscanf(line, "VmRSS: %d kB", &c.rssMiB)
		_, _ = fmt.Sscanf(line, "Threads: %d", &c.threads)
	}
	c.rssMiB /= 1 << 10
	return c
}

// What a daemon may cost, and how many lines it and the agents may log, while it is attacked.
const (
	mostRSS     = 96 // MiB
	mostThreads = 64
	mostLines   = 30 // of the daemon and of the agents, in the twelve seconds of quiet
	// It logs each probe of the refresh, several lines for each.
	mostOfPacemaker = 200
)

// quiet watches for six monitors, with a client that connects each time and one by each protocol.
func (h *besieged) quiet() {
	since := strings.TrimSpace(h.on(source, "date", "+%s"))
	before := h.cost(source)
	h.on(target, "crm_resource", "--refresh") // every guest is probed on every node
	h.clients()
	h.on(target, "crm_resource", "--wait", "--timeout=60")
	checkNoFailures(h.t, h.on(target, "crm_mon", "--one-shot", "--inactive", "--failcounts"))
	after := h.cost(source)
	h.t.Logf("vmferryd at %s: %+v, and then %+v", source, before, after)
	if after.restarts != before.restarts || after.rssMiB > mostRSS || after.threads > mostThreads {
		h.t.Errorf("vmferryd costs too much: %+v, before %+v", after, before)
	}
	h.lines(since)
	if n := h.members(); n != h.crowd || n == 0 {
		h.t.Errorf("%d of %d processes of other users are left", n, h.crowd)
	}
	for _, unit := range h.units {
		node, name, _ := strings.Cut(unit, " ")
		if state, _ := h.b.try(h.t, "shell", node, "systemctl", "is-active", name); strings.TrimSpace(state) != "active" {
			h.t.Errorf("the attack %s at %s is %s: nothing was shown", name, node, strings.TrimSpace(state))
		}
	}
}

// lines counts what was logged at the first node since a time, in seconds of the epoch.
func (h *besieged) lines(since string) {
	h.t.Helper()
	for of, most := range map[string]int{
		"_SYSTEMD_UNIT=vmferryd.service": mostLines, "SYSLOG_IDENTIFIER=vmferry-agent": mostLines,
		"_SYSTEMD_UNIT=pacemaker.service": mostOfPacemaker,
	} {
		out := h.on(source, "journalctl", "--quiet", "--no-pager", "--output=cat", "--since=@"+since, of)
		n := strings.Count(out, "\n")
		h.t.Logf("%s: %d lines logged", of, n)
		if n > most {
			h.t.Errorf("%s logged %d lines, want %d or fewer", of, n, most)
		}
	}
}

// clients watches the guest with a client that connects each time, and wants nearly all of its probes answered.
func (h *besieged) clients() {
	h.t.Helper()
	// It fails where nothing is answered, and tells so in its report.
	out, _ := h.b.try(h.t, "shell", target, "bash", "-c",
		"blackout watch udp://10.77.0.101:7008 tcp://10.77.0.101:7008 --interval 50ms --for 12s --json - 2>/dev/null")
	report, err := blackout.ReadReport(strings.NewReader(out))
	if err != nil {
		h.t.Fatalf("%v\n%s", err, out)
	}
	for _, w := range report.Targets {
		h.t.Logf("%s: %d of %d answered, blackout of %v ms", w.Target, w.Answered, w.Sent, w.BlackoutMs)
		if w.Answered < w.Sent*9/10 {
			h.t.Errorf("%s: %d of %d probes answered", w.Target, w.Answered, w.Sent)
		}
	}
}

// drains reboots the first node.
func (h *besieged) drains() {
	before, boots, begun := h.status(), h.boots(source), time.Now()
	_, _ = h.b.try(h.t, "shell", source, "systemctl", "reboot", "--no-wall") // its end may come before its answer
	migrated(h.t, h.b, target)
	h.t.Logf("the guest had left %.1f s after the reboot began", time.Since(begun).Seconds())
	await(h.t, source+" to boot", 60*time.Second, func() bool { return h.boots(source) > boots })
	h.t.Logf("%s booted after %.1f s", source, time.Since(begun).Seconds())
	if at := h.where(); len(at) != 1 || at[0] != target {
		h.t.Errorf("the guest runs on %v", at)
	}
	if after := h.status(); after.BootID != before.BootID || after.ForeignWrites != 0 {
		h.t.Errorf("the guest was %+v and is %+v", before, after)
	}
	drained{t: h.t, b: h.b}.online()
	if n := h.lab(supervisor.Request{Op: supervisor.OpStatus}).Nodes[target].Boots; n != 1 {
		h.t.Logf("%s was booted %d times", target, n)
	}
	h.on(target, "crm_resource", "--wait", "--timeout=60")
	checkNoFailures(h.t, h.on(target, "crm_mon", "--one-shot", "--inactive", "--failcounts"))
}

// said is what the daemons and the agents said last, on both nodes.
func (h *besieged) said() string {
	var all strings.Builder
	for _, node := range []string{source, target} {
		out, _ := h.b.try(h.t, "shell", node, "journalctl", "--no-pager", "--lines=60", "--output=short-precise",
			"_SYSTEMD_UNIT=vmferryd.service", "+", "SYSLOG_IDENTIFIER=vmferry-agent")
		all.WriteString(node + ":\n" + out)
	}
	return all.String()
}
