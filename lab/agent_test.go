package lab_test

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/lab"
)

// agentEnv is how Pacemaker calls the agent for vm1, with more parameters.
func agentEnv(params ...string) []string {
	env := []string{"env", "OCF_ROOT=/usr/lib/ocf", "OCF_RESOURCE_INSTANCE=vm1", "OCF_RA_VERSION_MAJOR=1",
		"OCF_RA_VERSION_MINOR=1"}
	for _, param := range params {
		env = append(env, "OCF_RESKEY_"+param)
	}
	return env
}

// A migration that cannot be made leaves the guest running where it is, and
// says why.
func testRefusedMigrations(t *testing.T, b bench) {
	call := func(node, action string, params ...string) (string, int) {
		params = append([]string{
			"config=/shared/guests/vm1.xml", "hypervisor=qemu:///system", "migration_transport=tcp",
			"CRM_meta_timeout=20000", "force_stop=true",
		}, params...)
		return b.try(t, append(append([]string{"shell", node}, agentEnv(params...)...), agentFile, action)...)
	}
	if out, code := call("node1", "start"); code != 0 {
		t.Fatalf("start: exit code %d\n%s", code, out)
	}
	defer func() {
		if out, code := call("node1", "stop"); code != 0 {
			t.Errorf("stop: exit code %d\n%s", code, out)
		}
	}()
	pid := qemuPID(t, b)
	for _, test := range []struct {
		name   string
		params []string
		words  string
	}{
		{"unknown peer", []string{"CRM_meta_migrate_target=node9"}, "node9"},
		{"peer without a listener", []string{"CRM_meta_migrate_target=node2", "migration_transport=tls"}, "node2"},
		{"wrong memory channel", []string{"CRM_meta_migrate_target=node2", "migrateuri=tcp://192.0.2.1"}, "."},
		{"itself", []string{"CRM_meta_migrate_target=node1"}, "."},
		// 128 MiB at 1 MiB/s: it must be called off in time.
		{"no time", []string{"CRM_meta_migrate_target=node2", "migration_speed=1", "CRM_meta_timeout=15000"}, "."},
	} {
		t.Run(test.name, func(t *testing.T) {
			begun := time.Now()
			out, code := call("node1", "migrate_to", test.params...)
			if code != 1 {
				t.Errorf("exit code %d, want 1\n%s", code, out)
			}
			if took := time.Since(begun); took > 20*time.Second {
				t.Errorf("it took %v of 20 s", took)
			}
			checkReason(t, out, test.words)
			if now := qemuPID(t, b); now != pid {
				t.Errorf("the guest was process %s and is %q now", pid, now)
			}
			if out, code := call("node1", "monitor"); code != 0 {
				t.Errorf("monitor: exit code %d\n%s", code, out)
			}
		})
	}
}

// An operator's three in the morning: what is wrong, what the agent must
// answer (OCF exit code), and words that its one line of reason must hold.
func testBadInput(t *testing.T, b bench) {
	const good = "/shared/guests/vm1.xml"
	for _, test := range []struct {
		name   string
		action string
		params string // NAME=VALUE, separated by spaces
		codes  []int
		words  string // a regular expression
	}{
		{"no config", "start", "", []int{6}, "config"},
		{"missing XML", "start", "config=/shared/guests/none.xml", []int{5, 6}, "none.xml"},
		{"malformed XML", "start", "config=/etc/hostname", []int{5, 6}, "/etc/hostname"},
		{"unreadable folder", "validate-all", "config=/shared/guests", []int{5, 6}, "/shared/guests"},
		{"wrong URI", "start", "config=" + good + " hypervisor=nonsense", []int{5, 6}, "nonsense"},
		{"unknown driver", "start", "config=" + good + " hypervisor=vmware:///system", []int{5, 6}, "vmware"},
		{"unknown transport", "validate-all", "config=" + good + " migration_transport=pigeon", []int{2, 6}, "pigeon"},
		{"no target", "migrate_to", "config=" + good + " hypervisor=qemu:///system", []int{1, 2, 6, 7}, "."},
		{"unknown action", "dance", "config=" + good, []int{3}, "dance"},
		{"not running", "monitor", "config=" + good + " hypervisor=qemu:///system", []int{7}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			args := append([]string{"shell", "node1"}, agentEnv(strings.Fields(test.params)...)...)
			before := b.run(t, "shell", "node1", "virsh", "list", "--all", "--uuid")
			out, code := b.try(t, append(args, agentFile, test.action)...)
			if !slices.Contains(test.codes, code) {
				t.Errorf("exit code %d, want one of %v\n%s", code, test.codes, out)
			}
			checkReason(t, out, test.words)
			if after := b.run(t, "shell", "node1", "virsh", "list", "--all", "--uuid"); after != before {
				t.Errorf("it changed the node's domains from %q to %q", before, after)
			}
		})
	}
}

// checkReason wants exactly one ocf-exit-reason that matches words, or no
// requirement where words is empty.
func checkReason(t *testing.T, out, words string) {
	t.Helper()
	if words == "" {
		return
	}
	var reasons []string
	for line := range strings.Lines(out) {
		if reason, ok := strings.CutPrefix(line, "ocf-exit-reason:"); ok {
			reasons = append(reasons, reason)
		}
	}
	if len(reasons) != 1 || !regexp.MustCompile(words).MatchString(reasons[0]) {
		t.Errorf("want one reason that matches %q, got %q\n%s", words, reasons, out)
	}
}

// testAgentSwap is how people will try vmferry: a cluster that runs guests
// with VirtualDomain gets another agent name, and no guest notices.
func testAgentSwap(t *testing.T, b bench) {
	cib := func(args ...string) string { return b.run(t, append([]string{"shell", "node1"}, args...)...) }
	const primitive = `<primitive id="vm1" class="ocf" provider="heartbeat" type="VirtualDomain">
  <instance_attributes id="vm1-params">
    <nvpair id="vm1-config" name="config" value="/shared/guests/vm1.xml"/>
    <nvpair id="vm1-hypervisor" name="hypervisor" value="qemu:///system"/>
    <nvpair id="vm1-transport" name="migration_transport" value="tcp"/>
  </instance_attributes>
  <meta_attributes id="vm1-meta"><nvpair id="vm1-migrate" name="allow-migrate" value="true"/></meta_attributes>
  <operations>
    <op id="vm1-start" name="start" interval="0s" timeout="90s"/>
    <op id="vm1-stop" name="stop" interval="0s" timeout="90s"/>
    <op id="vm1-monitor" name="monitor" interval="10s" timeout="30s"/>
  </operations>
</primitive>`
	cib("cibadmin", "--create", "--scope=resources", "--xml-text="+primitive)
	cib("crm_resource", "--wait", "--timeout=60")
	pid := qemuPID(t, b)

	cib("crm_attribute", "--name=maintenance-mode", "--update=true")
	ours := strings.NewReplacer(`provider="heartbeat"`, `provider="vmferry"`, `type="VirtualDomain"`,
		`type="Domain"`).Replace(primitive)
	cib("cibadmin", "--replace", "--scope=resources",
		"--xml-text="+strings.Replace(cib("cibadmin", "--query", "--scope=resources"),
			section(t, cib("cibadmin", "--query", "--scope=resources")), ours, 1))
	cib("crm_resource", "--refresh", "--resource=vm1")
	cib("crm_resource", "--wait", "--timeout=60")
	cib("crm_attribute", "--name=maintenance-mode", "--delete")
	cib("crm_resource", "--wait", "--timeout=60")

	if after := qemuPID(t, b); after != pid {
		t.Errorf("the guest was process %q before the swap and is %q after it", pid, after)
	}
	if out := cib("crm_mon", "--one-shot"); !regexp.MustCompile(`vm1\s+\(ocf:vmferry:Domain\):\s+Started`).MatchString(out) {
		t.Errorf("Pacemaker does not run vm1 with the new agent:\n%s", out)
	}
	cib("crm_resource", "--resource=vm1", "--meta", "--set-parameter=target-role", "--parameter-value=Stopped")
	cib("crm_resource", "--wait", "--timeout=60")
	if out := qemuPID(t, b); out != "" {
		t.Errorf("the guest still runs as %q after it was stopped", out)
	}
	cib("cibadmin", "--delete-all", "--force", "--xpath=//primitive[@id='vm1']")
}

// section finds the text of vm1's primitive in the resources section.
func section(t *testing.T, resources string) string {
	t.Helper()
	found := regexp.MustCompile(`(?s)<primitive[^>]*id="vm1".*?</primitive>`).FindString(resources)
	if found == "" {
		t.Fatalf("vm1 is not among the resources:\n%s", resources)
	}
	return found
}

// qemuPID is the process that runs vm1: its node and process id there, or
// nothing.
func qemuPID(t *testing.T, b bench) string {
	t.Helper()
	for i, node := range []string{"node1", "node2"} {
		if out, code := b.try(t, "shell", node, "cat", "/run/libvirt/qemu/vm1.pid"); code == 0 {
			return strconv.Itoa(i+1) + ":" + strings.TrimSpace(out)
		}
	}
	return ""
}

// testOperatorsTools types what the README says, and reads the agent's description with the
// tools that operators read it with.
func testOperatorsTools(t *testing.T, b bench) {
	on := func(args ...string) string { return b.run(t, append([]string{"shell", "node1"}, args...)...) }
	for _, describe := range [][]string{
		{"pcs", "resource", "describe", "ocf:vmferry:Domain"},
		{"crm", "ra", "info", "ocf:vmferry:Domain"},
	} {
		out := on(describe...)
		for _, param := range []string{"config", "migration_transport", "monitor_scripts", "xmfile"} {
			if !strings.Contains(out, param) {
				t.Errorf("%v does not know the parameter %s:\n%s", describe, param, out)
			}
		}
	}
	on("pcs", "resource", "create", "vm1", "ocf:vmferry:Domain", "config=/shared/guests/vm1.xml", "hypervisor=qemu:///system",
		"migration_transport=tcp", "meta", "allow-migrate=true", "op", "monitor", "interval=10s", "timeout=30s")
	on("crm_resource", "--wait", "--timeout=60")
	if out := on("pcs", "status", "resources"); !regexp.MustCompile(`vm1\s+\(ocf:vmferry:Domain\):\s+Started`).MatchString(out) {
		t.Errorf("pcs status resources:\n%s", out)
	}
	if out := on("crm_verify", "--live-check", "-V"); strings.Contains(out, "warning") || strings.Contains(out, "error") {
		t.Errorf("crm_verify:\n%s", out)
	}
	// A parameter that can be changed at run time is taken in without a restart.
	pid := qemuPID(t, b)
	on("pcs", "resource", "update", "vm1", "migration_downtime=100")
	on("crm_resource", "--wait", "--timeout=60")
	if now := qemuPID(t, b); now != pid {
		t.Errorf("a change of migration_downtime restarted the guest: %q was %q", now, pid)
	}
	on("pcs", "resource", "delete", "vm1")
	on("crm_resource", "--wait", "--timeout=60")
	if now := qemuPID(t, b); now != "" {
		t.Errorf("the guest still runs as %q", now)
	}
	for _, node := range lab.Nodes {
		if out := b.run(t, "shell", node.Name, "journalctl", "--boot", "--no-pager",
			"--unit=pacemaker"); strings.Contains(out, "assertion") {
			t.Errorf("Pacemaker at %s stumbled over something of ours:\n%s", node.Name, out)
		}
	}
}
