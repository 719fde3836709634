package main

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// unitFile is a systemd unit: for each "Section.Key" the words assigned to it.
type unitFile map[string][]string

func readUnit(t *testing.T, path string) unitFile {
	t.Helper()
	u, section := unitFile{}, ""
	for line := range strings.Lines(read(t, path)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			section = strings.Trim(line, "[]")
		default:
			key, value, ok := strings.Cut(line, "=")
			if !ok {
				t.Fatalf("%s: %q is no assignment", path, line)
			}
			u[section+"."+key] = append(u[section+"."+key], strings.Fields(value)...)
		}
	}
	return u
}

func wantAll(t *testing.T, what string, have, want []string) {
	t.Helper()
	for _, w := range want {
		if !slices.Contains(have, w) {
			t.Errorf("%s: %s is missing", what, w)
		}
	}
}

// needed is what guests need until they have left; both units stop before it.
func needed() []string {
	list := []string{
		"virt-guest-shutdown.target", "systemd-machined.service", "libvirt-guests.service", "remote-fs.target",
		"network.target", "network-online.target", "libvirtd.service", "virtlogd.socket", "virtlockd.socket",
	}
	for _, d := range []string{
		"virtqemud", "virtxend", "virtproxyd", "virtlogd", "virtlockd", "virtnetworkd", "virtstoraged",
		"virtnodedevd", "virtsecretd", "virtnwfilterd", "virtinterfaced",
	} {
		list = append(list, d+".service", d+".socket", d+"-admin.socket")
	}
	for _, s := range []string{"", "-ro", "-admin", "-tcp", "-tls"} {
		list = append(list, "libvirtd"+s+".socket", "virtproxyd"+s+".socket")
	}
	return append(list, "virtqemud-ro.socket", "virtxend-ro.socket")
}

func TestShutdownOrder(t *testing.T) {
	daemon := readUnit(t, "vmferryd.service")
	pacemaker := readUnit(t, "pacemaker.service.d/10-vmferry.conf")
	heartbeat := readUnit(t, "heartbeat.service.d/10-vmferry.conf")
	wantAll(t, "vmferryd.service After=", daemon["Unit.After"], needed())
	wantAll(t, "pacemaker's drop-in After=", pacemaker["Unit.After"], needed())
	wantAll(t, "heartbeat's drop-in After=", heartbeat["Unit.After"], pacemaker["Unit.After"])
	wantAll(t, "vmferryd.service After=", daemon["Unit.After"], []string{
		"pacemaker.service", "pacemaker_remote.service", "corosync.service", "heartbeat.service", "dbus.service",
		"systemd-logind.service",
	})
	// An order against a target that is not active binds nothing.
	for name, u := range map[string]unitFile{
		"vmferryd.service": daemon, "pacemaker's drop-in": pacemaker, "heartbeat's drop-in": heartbeat,
	} {
		wantAll(t, name+" Wants=", u["Unit.Wants"], []string{"virt-guest-shutdown.target"})
		if len(u["Unit.Before"])+len(u["Unit.Requires"])+len(u["Unit.BindsTo"]) > 0 {
			t.Errorf("%s: ties that would start or stop others", name)
		}
	}
	// What a manager stops before, vmferryd stops before too.
	wantAll(t, "vmferryd.service After=", daemon["Unit.After"], pacemaker["Unit.After"])
	wantAll(t, "vmferryd.service After=", daemon["Unit.After"], heartbeat["Unit.After"])
}

func TestServiceSettings(t *testing.T) {
	u := readUnit(t, "vmferryd.service")
	for key, want := range map[string]string{
		"Service.Type":                     "notify",
		"Service.NotifyAccess":             "main",
		"Service.WatchdogSec":              "30s",
		"Service.Restart":                  "on-failure",
		"Service.RestartPreventExitStatus": "78", // a Go program that crashes ends with 2
		"Service.KillMode":                 "mixed",
		"Service.TimeoutStopSec":           "10min",
		"Service.RuntimeDirectory":         "vmferry",
		"Service.RuntimeDirectoryMode":     "0700",
		"Service.RuntimeDirectoryPreserve": "yes",
		"Service.RestrictAddressFamilies":  "AF_UNIX AF_INET AF_INET6 AF_PACKET AF_NETLINK",
		"Service.ProtectHome":              "read-only",
		"Service.Environment":              "TMPDIR=/run/vmferry",
		"Install.WantedBy":                 "multi-user.target",
		// What the daemon may do beside what it asks others to do. Each is explained in the unit.
		"Service.CapabilityBoundingSet": "CAP_DAC_OVERRIDE CAP_NET_RAW",
		"Service.NoNewPrivileges":       "yes",
		"Service.ProtectSystem":         "strict",
		"Service.ReadOnlyPaths":         "/run",
		"Service.PrivateTmp":            "yes",
		"Service.PrivateDevices":        "yes",
		"Service.BindPaths":             "-/dev/xen",
		"Service.UMask":                 "0077",
		"Service.KeyringMode":           "private",
		"Service.SystemCallFilter":      "@system-service ~process_vm_readv process_vm_writev",
		"Service.MemoryMax":             "2G",
		"Service.TasksMax":              "4096",
		"Service.OOMPolicy":             "continue",
	} {
		if got := strings.Join(u[key], " "); got != want {
			t.Errorf("%s=%s, want %s", key, got, want)
		}
	}
	if u := readUnit(t, "heartbeat.service.d/10-vmferry.conf"); strings.Join(u["Service.TimeoutStopSec"],
		"") != "30min" {
		t.Errorf("heartbeat's stop: %v", u)
	}
	if u := readUnit(t, "logind.conf.d/90-vmferry.conf"); strings.Join(u["Login.InhibitDelayMaxSec"], "") != "2min" {
		t.Errorf("logind's limit: %v", u)
	}
}

// A remote node's guests are stopped by pacemaker_remote.service, which needs the same order. What is installed is
// tested, as one file serves both units.
func TestDropInsAreInstalled(t *testing.T) {
	makefile := read(t, "../../Makefile")
	begin := strings.Index(makefile, "\ninstall: ")
	end := strings.Index(makefile, "\nstage: ")
	if begin < 0 || end < begin {
		t.Fatal("the Makefile has no install target before its stage target")
	}
	list := strings.Join(strings.Fields(makefile[begin:end]), " ")
	for _, want := range []string{
		"for unit in pacemaker.service pacemaker_remote.service; do install -D -m 644 cmd/vmferryd/pacemaker.service.d/10-vmferry.conf $(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit.d/10-vmferry.conf",
		"install -D -m 644 cmd/vmferryd/heartbeat.service.d/10-vmferry.conf $(DESTDIR)$(PREFIX)/lib/systemd/system/heartbeat.service.d/10-vmferry.conf",
		"ln -sf $(PREFIX)/sbin/fence_vmferry $(DESTDIR)$(PREFIX)/lib/stonith/plugins/external/vmferry",
		"install -D -m 644 cmd/vmferryd/logind.conf.d/90-vmferry.conf $(DESTDIR)$(PREFIX)/lib/systemd/logind.conf.d/90-vmferry.conf",
	} {
		if !strings.Contains(list, want) {
			t.Errorf("make install does not do: %s", want)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
