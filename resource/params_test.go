package resource

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func environ(params ...string) Environ {
	vars := []string{"OCF_RESKEY_config=/etc/vm1.xml", "OCF_RESKEY_hypervisor=qemu:///system"}
	for _, p := range params {
		vars = append(vars, reskey+p)
	}
	return ParseEnviron(vars)
}

func TestCheck(t *testing.T) {
	host, _ := os.Hostname()
	for _, c := range []struct {
		param          string
		start, monitor ExitCode // start stands for all actions that need every parameter
	}{
		{"config=/etc/vm1.xml", Success, Success},
		{"config=", Configured, Configured},
		{"config=vm1.xml", Configured, Configured},
		{"hypervisor=", Success, Success},
		{"hypervisor=qemu:///session", Success, Success},
		{"hypervisor=qemu+unix:///system?socket=/x", Success, Success},
		{"hypervisor=qemu+tcp://localhost/system", Success, Success},
		{"hypervisor=qemu://" + host + "/system", Success, Success},
		{"hypervisor=qemu+ssh://elsewhere.example/system", Configured, Configured},
		{"hypervisor=xen:///system", Configured, Configured},
		{"hypervisor=qemu", Configured, Configured},
		{"hypervisor=qemu:system", Configured, Configured},
		{"hypervisor=://", Configured, Configured},
		{"hypervisor=qemu:///", Configured, Configured},
		{"migration_transport=ssh", Success, Success},
		{"migration_transport=", Success, Success},
		{"migration_transport=pigeon", Configured, Success},
		{"migration_user=root", Success, Success},
		{"migration_user=a b", Configured, Success},
		{"migration_user=x@y", Configured, Success},
		{"migration_speed=100", Success, Success},
		{"migration_speed=-1", Configured, Success},
		{"migration_speed=1.5", Configured, Success},
		{"migration_speed=99999999999999999999", Configured, Success},
		{"migration_downtime=50ms", Configured, Success},
		{"migration_network_suffix=-mig", Success, Success},
		{"migration_network_suffix=.mig/x", Configured, Success},
		{"migrateuri=tcp://%n:49152", Success, Success},
		{"migrateuri=tcp:%n:49152", Success, Success},
		{"migrateuri=%n", Configured, Success},
		{"remoteuri=qemu+ssh://%n/system", Success, Success},
		{"remoteuri=//%n", Configured, Success},
		{"force_stop=true", Success, Success},
		{"force_stop=maybe", Configured, Success},
		{"shutdown_mode=agent", Success, Success},
		{"shutdown_mode=hope", Configured, Success},
		{"snapshot=/var/lib/x", Configured, Success},
		{"autoset_utilization_cpu=true", Success, Success},
	} {
		t.Run(c.param, func(t *testing.T) {
			e := environ(c.param)
			for _, action := range []string{"start", "migrate_to", "migrate_from", "validate-all"} {
				checkExit(t, e.check(action), c.start, "")
			}
			for _, action := range []string{"monitor", "status", "stop"} {
				checkExit(t, e.check(action), c.monitor, "")
			}
			if err := e.check("start"); err != nil && !strings.Contains(err.Error(), strings.SplitN(c.param, "=", 2)[0]) {
				t.Errorf("reason %q does not name the parameter", err)
			}
		})
	}
}

func TestParseEnviron(t *testing.T) {
	e := ParseEnviron([]string{"PATH=/bin", "OCF_RESOURCE_INSTANCE=vm:0", "OCF_RESKEY_CRM_meta_timeout=20000",
		"OCF_RESKEY_CRM_meta_interval=0", "OCF_RESKEY_migration_downtime=30", "OCF_RESKEY_force_stop=ja",
		"OCF_RESKEY_save_config_on_stop=1", "OCF_RESKEY_crm_feature_set=3.19.0", "OCF_RESKEY_trace_ra=1"})
	if e.Instance != "vm:0" || e.Timeout != 20*time.Second || !e.Probe || e.Bare ||
		e.Params.Downtime != 30*time.Millisecond || !e.Params.ForceStop {
		t.Errorf("parsed %+v", e)
	}
	if len(e.Ignored) != 1 || e.Ignored[0] != "save_config_on_stop" {
		t.Errorf("ignored %v", e.Ignored)
	}
	if bare := ParseEnviron([]string{"PATH=/bin"}); !bare.Bare || bare.Instance != "default" || bare.Probe {
		t.Errorf("parsed %+v", bare)
	}
}

func TestParseTimeout(t *testing.T) {
	for in, want := range map[string]time.Duration{"": 0, "x": 0, "-5": 0, "0": 0, "20000": 20 * time.Second, "9223372036854775807": maxTimeout} {
		if got := parseTimeout(in); got != want {
			t.Errorf("parseTimeout(%q) = %v, want %v", in, got, want)
		}
	}
}

func FuzzParseEnviron(f *testing.F) {
	f.Add("OCF_RESKEY_config=/x.xml", "OCF_RESKEY_hypervisor=qemu:///system", "node2")
	f.Add("OCF_RESKEY_remoteuri=%n", "OCF_RESKEY_hypervisor=qemu://[::1]:99/system", ".a")
	f.Add("=", "OCF_RESKEY_", "")
	f.Add("OCF_RESKEY_CRM_meta_timeout=1", "OCF_RESKEY_migration_network_suffix=-m", "n.example")
	f.Fuzz(func(t *testing.T, a, b, node string) {
		e := ParseEnviron([]string{a, b})
		if e.Timeout < 0 || e.Timeout > maxTimeout || e.Params.Hypervisor == "" || e.Params.Downtime < 0 {
			t.Errorf("parsed %+v", e)
		}
		for _, p := range e.Problems {
			if p.Err.Reason == "" || p.Err.Code != Configured {
				t.Errorf("problem %+v", p)
			}
		}
		_, _ = e.Params.TargetURI(node)
		_ = e.Params.DataURI(node)
	})
}

func TestDefaultURI(t *testing.T) {
	conf := filepath.Join(t.TempDir(), "libvirt.conf")
	if err := os.WriteFile(conf, []byte("# uri_default = \"qemu:///no\"\nuri_default = \"qemu+unix:///system\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		vars       map[string]string
		conf, want string
	}{
		{nil, "/no/such/file", "qemu:///system"},
		{nil, conf, "qemu+unix:///system"},
		{map[string]string{"LIBVIRT_DEFAULT_URI": "qemu:///session"}, conf, "qemu:///session"},
		{map[string]string{"LIBVIRT_DEFAULT_URI": "a", "VIRSH_DEFAULT_CONNECT_URI": "b"}, conf, "b"},
	} {
		if got := DefaultURI(c.vars, c.conf); got != c.want {
			t.Errorf("DefaultURI(%v) = %q, want %q", c.vars, got, c.want)
		}
	}
}

func TestTargetURIs(t *testing.T) {
	for _, c := range []struct {
		name, node   string
		p            Params
		target, data string
	}{
		{"plain", "node2", Params{}, "qemu://node2/system", ""},
		{"transport", "node2", Params{Transport: "ssh"}, "qemu+ssh://node2/system", ""},
		{"port", "node2", Params{Hypervisor: "qemu://localhost:9999/system", Transport: "tcp"}, "qemu+tcp://node2:9999/system", ""},
		{"query kept", "node2", Params{Hypervisor: "qemu:///system?no_verify=1", Transport: "tls"}, "qemu+tls://node2/system?no_verify=1", ""},
		{"local transport replaced", "node2", Params{Hypervisor: "qemu+unix:///system", Transport: "tcp"}, "qemu+tcp://node2/system", ""},
		{"user", "node2", Params{Transport: "ssh", User: "virt"}, "qemu+ssh://virt@node2/system", ""},
		{"suffix", "node2", Params{Transport: "ssh", Suffix: "-mig"}, "qemu+ssh://node2-mig/system", "tcp://node2-mig"},
		{"suffix in a FQDN", "node2.example.org", Params{Suffix: "-mig"}, "qemu://node2-mig.example.org/system", "tcp://node2-mig.example.org"},
		{"user and suffix", "node2", Params{User: "virt", Suffix: "-mig"}, "qemu://virt@node2-mig/system", "tcp://node2-mig"},
		{"migrateuri", "node2", Params{MigrateURI: "tcp://%n:49200"}, "qemu://node2/system", "tcp://node2:49200"},
		{"migrateuri with suffix", "node2", Params{MigrateURI: "tcp://%n", Suffix: "-mig"}, "qemu://node2-mig/system", "tcp://node2-mig"},
		{"migrateuri with user", "node2", Params{MigrateURI: "tcp://%n", User: "virt"}, "qemu://virt@node2/system", "tcp://virt@node2"},
		{"migrateuri without %n", "node2", Params{MigrateURI: "tcp://10.0.0.2"}, "qemu://node2/system", "tcp://10.0.0.2"},
		{"remoteuri", "node2", Params{RemoteURI: "qemu+tcp://%n.lan/system", User: "virt", Suffix: "-mig", Transport: "ssh"}, "qemu+tcp://node2.lan/system", "tcp://node2-mig"},
		{"remoteuri and migrateuri", "node2", Params{RemoteURI: "qemu+tcp://%n/system", MigrateURI: "tcp://%n", Suffix: "-mig"}, "qemu+tcp://node2/system", "tcp://node2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.p.Hypervisor == "" {
				c.p.Hypervisor = systemURI
			}
			target, err := c.p.TargetURI(c.node)
			if err != nil || target != c.target {
				t.Errorf("TargetURI = %q, %v, want %q", target, err, c.target)
			}
			if data := c.p.DataURI(c.node); data != c.data {
				t.Errorf("DataURI = %q, want %q", data, c.data)
			}
		})
	}
	if uri, err := (Params{Hypervisor: "qemu://[::1]/system"}).TargetURI("node2"); err == nil {
		t.Errorf("a URI without place for the node became %q", uri)
	}
}
