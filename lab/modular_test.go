package lab_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// modularUnits are the sockets of libvirt's modular layout: a daemon for QEMU with sockets of
// its own, and one that listens for other hosts.
var modularUnits = []string{"virtqemud.socket", "virtqemud-ro.socket", "virtproxyd-tcp.socket"}

// standIns are for nodes that have no modular daemons, as Debian ships none: its libvirtd runs
// in their place, under their units' names and behind their sockets. What is tested then is
// what differs for us: the sockets that clients find, and the order at a shutdown.
var standIns = map[string]string{
	"virtqemud.service": `[Unit]
Description=libvirt QEMU daemon
Requires=virtqemud.socket
After=virtqemud.socket virtproxyd-tcp.socket network.target dbus.service
Before=libvirt-guests.service
[Service]
Type=notify
ExecStart=/usr/sbin/libvirtd
KillMode=process
Restart=on-failure
OOMScoreAdjust=-999
[Install]
WantedBy=multi-user.target
`,
	"virtqemud.socket": `[Socket]
ListenStream=/run/libvirt/virtqemud-sock
FileDescriptorName=libvirtd.socket
Service=virtqemud.service
SocketMode=0660
[Install]
WantedBy=sockets.target
`,
	"virtqemud-ro.socket": `[Socket]
ListenStream=/run/libvirt/virtqemud-sock-ro
FileDescriptorName=libvirtd-ro.socket
Service=virtqemud.service
SocketMode=0660
[Install]
WantedBy=sockets.target
`,
	"virtproxyd-tcp.socket": `[Socket]
ListenStream=16509
FileDescriptorName=libvirtd-tcp.socket
Service=virtqemud.service
[Install]
WantedBy=sockets.target
`,
}

// goModular puts a node's libvirt behind the modular layout, permanently.
func goModular(t *testing.T, b bench, node string) {
	t.Helper()
	run := func(args ...string) string { return b.run(t, append([]string{"shell", node}, args...)...) }
	run(append([]string{"systemctl", "stop"}, libvirtUnits...)...)
	run(append([]string{"systemctl", "mask"}, libvirtUnits...)...)
	if _, code := b.try(t, "shell", node, "test", "-x", "/usr/sbin/virtqemud"); code == 0 {
		t.Log(node + ": modular daemons of its own")
		for _, daemon := range []string{"virtqemud", "virtproxyd"} {
			run("cp", "/etc/libvirt/libvirtd.conf", "/etc/libvirt/"+daemon+".conf")
		}
	} else {
		t.Log(node + ": libvirtd runs in place of the modular daemons")
		writeStandIns(t, b, run)
	}
	run("systemctl", "daemon-reload")
	run(append([]string{"systemctl", "enable"}, modularUnits...)...)
	run(append([]string{"systemctl", "start"}, modularUnits...)...)
	if len(find(t, node, func(p proc) bool { return p.args[0] == "/usr/sbin/libvirtd" && !p.inUnit("virtqemud.service") })) > 0 {
		t.Fatalf("the monolithic daemon of %s still runs", node)
	}
	if uri := run("virsh", "--connect", "qemu:///system", "uri"); strings.TrimSpace(uri) != "qemu:///system" {
		t.Fatalf("libvirt at %s is %q", node, uri)
	}
}

func writeStandIns(t *testing.T, b bench, run func(...string) string) {
	t.Helper()
	dir := filepath.Join(b.dir, "shared", "modular")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range standIns {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		run("cp", "/shared/modular/"+name, "/etc/systemd/system/"+name)
	}
}

// testModular reboots a node whose libvirt is the modular one: the guest moves live before
// its daemon goes. The nodes keep that libvirt.
func testModular(t *testing.T, b bench) {
	for _, node := range []string{source, target} {
		goModular(t, b, node)
	}
	cib := func(args ...string) string { return b.run(t, append([]string{"shell", target}, args...)...) }
	addGuest(t, b)
	defer removeGuest(t, b)
	cib("crm_resource", "--wait", "--timeout=60")
	if pid := qemuPID(t, b); !strings.HasPrefix(pid, "1:") {
		t.Fatalf("the guest is not on %s: %q", source, pid)
	}
	boots := nodeBoots(t, b)
	_, _ = b.try(t, "shell", source, "systemctl", "reboot", "--no-wall")
	await(t, "the guest to run on "+target, 60*time.Second, func() bool { return strings.HasPrefix(qemuPID(t, b), "2:") })
	if how := cib("virsh", "--connect", "qemu:///system", "domstate", "--reason", "vm1"); !strings.Contains(how,
		"running (migrated)") {
		t.Errorf("the guest is %s, want running (migrated)", strings.TrimSpace(how))
	}
	await(t, source+" to boot again", 60*time.Second, func() bool { return nodeBoots(t, b) != boots })
	await(t, source+" to be a member", 90*time.Second, func() bool {
		out, code := b.try(t, "shell", target, "crm_mon", "--one-shot")
		return code == 0 && strings.Contains(out, "Online: [ node1 node2 ]")
	})
	checkNoFailures(t, cib("crm_mon", "--one-shot", "--inactive", "--failcounts"))
	if out := b.run(t, "shell", source, "cat", "/var/lib/vmferry/migrations.jsonl"); !strings.Contains(out, `"outcome":"moved"`) {
		t.Errorf("the migration's record says:\n%s", out)
	}
}
