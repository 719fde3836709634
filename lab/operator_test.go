package lab_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// testOperator types what an operator of a Pacemaker cluster types, from the question whether
// a node can be drained to the report of how it went.
func testOperator(t *testing.T, b bench) {
	on := func(node string, args ...string) (string, int) {
		return b.try(t, append([]string{"shell", node, "vmferry"}, args...)...)
	}
	must := func(node string, args ...string) string {
		t.Helper()
		out, code := on(node, args...)
		if code != 0 {
			t.Fatalf("vmferry %s at %s: exit code %d\n%s", strings.Join(args, " "), node, code, out)
		}
		return out
	}
	addGuest(t, b)
	defer removeGuest(t, b)
	b.run(t, "shell", target, "crm_resource", "--wait", "--timeout=60")

	t.Log(must(source, "check"))
	var status struct {
		Guests []struct{ Guest, Libvirt, Manager string }
	}
	if err := json.Unmarshal([]byte(must(source, "status", "--json")), &status); err != nil || len(status.Guests) != 1 ||
		status.Guests[0].Guest != "vm1" || !strings.HasPrefix(status.Guests[0].Libvirt, "running") {
		t.Errorf("status: %+v, %v", status, err)
	}
	if out := must(source, "plan", "--bandwidth", "100"); !strings.Contains(out, "vm1") {
		t.Errorf("the plan does not name vm1:\n%s", out)
	}

	must(source, "migrate", "vm1", target)
	migrated(t, b, target)
	must(target, "migrate", "vm1", source)
	migrated(t, b, source)
	must(source, "drain")
	migrated(t, b, target)
	if out := must(source, "check"); !strings.Contains(out, "standby") || !strings.Contains(out, "type: vmferry undrain") {
		t.Errorf("the check says nothing of the standby:\n%s", out)
	}
	must(source, "undrain")
	if out := b.run(t, "shell", target, "crm_mon", "--one-shot"); strings.Contains(out, "standby") {
		t.Errorf("a node is still in standby:\n%s", out)
	}

	out := must(source, "report")
	if strings.Count(out, "vm1") < 2 {
		t.Errorf("the report does not tell of two moves from %s:\n%s", source, out)
	}
	t.Log(out)
	if out, code := on(source, "migrate", "vm9", target); code == 0 || !strings.Contains(out, "vm9") {
		t.Errorf("a guest that is not there: exit code %d\n%s", code, out)
	}
}

// migrated waits until the guest was moved to the node, live.
func migrated(t *testing.T, b bench, node string) {
	t.Helper()
	await(t, "the guest to be on "+node+", moved live", 30*time.Second, func() bool {
		out, _ := b.try(t, "shell", node, "virsh", "--connect", "qemu:///system", "domstate", "--reason", "vm1")
		return strings.Contains(out, "running (migrated)")
	})
}

// addGuest gives Pacemaker the guest vm1, which prefers the first node.
func addGuest(t *testing.T, b bench) {
	t.Helper()
	cib := func(args ...string) { t.Helper(); b.run(t, append([]string{"shell", target, "cibadmin"}, args...)...) }
	cib("--create", "--scope=resources", "--xml-text="+guestPrimitive)
	cib("--create", "--scope=constraints", `--xml-text=<rsc_location id="vm1-here" rsc="vm1" node="`+source+`" score="100"/>`)
}

// removeGuest takes it away again, which stops it. A guest that is under way is awaited first: where the stop comes in the
// second in which the guest left the other node before, Pacemaker 3.0.0 stops the source alone, and the guest runs on.
func removeGuest(t *testing.T, b bench) {
	b.run(t, "shell", target, "crm_resource", "--wait", "--timeout=90")
	b.run(t, "shell", target, "crm_resource", "--resource=vm1", "--meta", "--set-parameter=target-role",
		"--parameter-value=Stopped")
	b.run(t, "shell", target, "crm_resource", "--wait", "--timeout=90")
	for _, path := range []string{"//rsc_location[@rsc='vm1']", "//primitive[@id='vm1']"} {
		b.run(t, "shell", target, "cibadmin", "--delete-all", "--force", "--xpath="+path)
	}
	b.run(t, "shell", target, "crm_resource", "--wait", "--timeout=90")
}
