package lab_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vmferry/vmferry/lab/supervisor"
)

// outage is a way in which a node's libvirt fails. begin returns what ends it.
type outage struct {
	name  string
	begin func(*testing.T, bench) (end func())
}

var libvirtUnits = []string{"libvirtd.service", "libvirtd.socket", "libvirtd-ro.socket", "libvirtd-admin.socket",
	"libvirtd-tcp.socket"}

func systemctl(t *testing.T, b bench, args ...string) {
	t.Helper()
	b.run(t, append([]string{"shell", source, "systemctl"}, args...)...)
}

var outages = []outage{
	{"stopped", func(t *testing.T, b bench) func() {
		systemctl(t, b, append([]string{"stop"}, libvirtUnits...)...)
		return func() { systemctl(t, b, append([]string{"start"}, libvirtUnits[1:]...)...) }
	}},
	{"killed and masked", func(t *testing.T, b bench) func() {
		systemctl(t, b, append([]string{"stop"}, libvirtUnits[1:]...)...)
		send(t, syscall.SIGKILL, find(t, source, proc.isLibvirtd))
		// Stopped before it is masked: a masked unit has systemd's default way of killing, and
		// without systemd-machined the guests are in its cgroup.
		systemctl(t, b, "stop", "libvirtd.service")
		systemctl(t, b, append([]string{"mask", "--runtime"}, libvirtUnits...)...)
		return func() {
			systemctl(t, b, append([]string{"unmask", "--runtime"}, libvirtUnits...)...)
			systemctl(t, b, append([]string{"start"}, libvirtUnits[1:]...)...)
		}
	}},
	{"frozen", func(t *testing.T, b bench) func() {
		daemons := find(t, source, proc.isLibvirtd)
		if len(daemons) == 0 {
			t.Fatal("no libvirtd to freeze")
		}
		send(t, syscall.SIGSTOP, daemons)
		return func() { send(t, syscall.SIGCONT, daemons) }
	}},
	{"crashing every second", func(t *testing.T, b bench) func() {
		quit, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			for tick := time.NewTicker(time.Second); ; {
				select {
				case <-quit:
					tick.Stop()
					return
				case <-tick.C:
					send(t, syscall.SIGSEGV, find(t, source, proc.isLibvirtd))
				}
			}
		}()
		return func() {
			close(quit)
			<-done
			systemctl(t, b, append([]string{"reset-failed"}, libvirtUnits...)...)
			systemctl(t, b, append([]string{"start"}, libvirtUnits[1:]...)...)
		}
	}},
}

// The guest as a resource with a monitor that comes often.
const guestPrimitive = `<primitive id="vm1" class="ocf" provider="vmferry" type="Domain">
  <instance_attributes id="vm1-params">
    <nvpair id="vm1-config" name="config" value="/shared/guests/vm1.xml"/>
    <nvpair id="vm1-hypervisor" name="hypervisor" value="qemu:///system"/>
    <nvpair id="vm1-transport" name="migration_transport" value="tcp"/>
  </instance_attributes>
  <meta_attributes id="vm1-meta"><nvpair id="vm1-migrate" name="allow-migrate" value="true"/></meta_attributes>
  <operations>
    <op id="vm1-start" name="start" interval="0s" timeout="60s"/>
    <op id="vm1-stop" name="stop" interval="0s" timeout="40s"/>
    <op id="vm1-monitor" name="monitor" interval="2s" timeout="20s"/>
    <op id="vm1-to" name="migrate_to" interval="0s" timeout="120s"/>
    <op id="vm1-from" name="migrate_from" interval="0s" timeout="60s"/>
  </operations>
</primitive>`

// testOutages breaks libvirt under a guest that Pacemaker runs, with fencing on. However
// libvirt fails, no monitor and no stop fails, no node is fenced, and the guest is not restarted.
func testOutages(t *testing.T, b bench) {
	cib := func(args ...string) string { return b.run(t, append([]string{"shell", target}, args...)...) }
	addGuest(t, b)
	defer removeGuest(t, b)
	role := func(r string) {
		cib("crm_resource", "--resource=vm1", "--meta", "--set-parameter=target-role", "--parameter-value="+r)
		cib("crm_resource", "--wait", "--timeout=90")
	}
	for i, o := range outages {
		if !shareOf(t).hasOf(i, len(outages)) {
			continue
		}
		t.Run(o.name, func(t *testing.T) {
			role("Started")
			before, boots := qemuPID(t, b), nodeBoots(t, b)
			if !strings.HasPrefix(before, "1:") {
				t.Fatalf("the guest is not on %s: %q", source, before)
			}
			end := o.begin(t, b)
			defer end()
			// Six monitors, some of which must wait for the daemon.
			time.Sleep(12 * time.Second)
			if after := qemuPID(t, b); after != before {
				t.Errorf("the guest was process %q and is %q", before, after)
			}
			role("Stopped")
			if now := qemuPID(t, b); now != "" && len(find(t, source, qemuOf("vm1"))) > 0 {
				t.Errorf("the guest still runs as %q", now)
			}
			if now := nodeBoots(t, b); now != boots {
				t.Errorf("a node was fenced: boots were %s and are %s", boots, now)
			}
			checkNoFailures(t, cib("crm_mon", "--one-shot", "--inactive", "--failcounts"))
		})
	}
}

// checkNoFailures reads what crm_mon says of the resource's past.
func checkNoFailures(t *testing.T, status string) {
	t.Helper()
	if regexp.MustCompile(`fail-count=|Failed Resource Actions|Failed Fencing|UNCLEAN`).MatchString(status) {
		t.Errorf("something failed:\n%s", status)
	}
}

// nodeBoots is how often each node was booted.
func nodeBoots(t *testing.T, b bench) string {
	t.Helper()
	var reply supervisor.Reply
	if err := json.Unmarshal([]byte(b.run(t, "status", "--json")), &reply); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d and %d", reply.Nodes[source].Boots, reply.Nodes[target].Boots)
}
