package param

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/preflight"
	"github.com/vmferry/vmferry/resource/ocf"
	"github.com/vmferry/vmferry/resource/ocf/metadata"
)

func environ(params ...string) Environ {
	vars := []string{"OCF_RESKEY_config=/etc/vm1.xml", "OCF_RESKEY_hypervisor=qemu:///system"}
	for _, p := range params {
		vars = append(vars, Prefix+p)
	}
	return ParseEnviron(vars)
}

func checkCode(t *testing.T, err error, want ocf.ExitCode) {
	t.Helper()
	if got := ocf.CodeOf(err); got != want {
		t.Errorf("exit code %d, want %d: %v", got, want, err)
	}
}

// ofAMove are the parameters without which a guest can be started.
var ofAMove = []string{"migration_transport", "migration_user", "migration_downtime", "migration_speed",
	"migration_network_suffix", "migrateuri",
	"migrateport", "migrate_options", "migration_tls", "remoteuri", "node_ip_attribute", "blackout_budget",
	"drain_priority", "ladder", "watch", "announce", "disks", "check_memory"}

func TestCheck(t *testing.T) {
	host, _ := os.Hostname()
	for _, c := range []struct {
		param string
		// start is that of validate-all, too; what a move alone needs fails neither a start nor an arrival
		start, monitor ocf.ExitCode
	}{
		{"config=/etc/vm1.xml", ocf.Success, ocf.Success},
		{"config=", ocf.Configured, ocf.Configured},
		{"config=vm1.xml", ocf.Configured, ocf.Configured},
		{"hypervisor=", ocf.Success, ocf.Success},
		{"hypervisor=qemu:///session", ocf.Success, ocf.Success},
		{"hypervisor=qemu+unix:///system?socket=/x", ocf.Success, ocf.Success},
		{"hypervisor=qemu+tcp://localhost/system", ocf.Success, ocf.Success},
		{"hypervisor=qemu://" + host + "/system", ocf.Success, ocf.Success},
		{"hypervisor=qemu+ssh://elsewhere.example/system", ocf.Configured, ocf.Configured},
		{"hypervisor=xen:///system", ocf.Success, ocf.Success},
		{"hypervisor=xen:///", ocf.Success, ocf.Success},
		{"hypervisor=xen:///session", ocf.Configured, ocf.Configured},
		{"hypervisor=lxc:///system", ocf.Configured, ocf.Configured},
		{"hypervisor=qemu", ocf.Configured, ocf.Configured},
		{"hypervisor=qemu:system", ocf.Configured, ocf.Configured},
		{"hypervisor=://", ocf.Configured, ocf.Configured},
		{"hypervisor=qemu:///", ocf.Configured, ocf.Configured},
		{"migration_transport=ssh", ocf.Success, ocf.Success},
		{"migration_transport=", ocf.Success, ocf.Success},
		{"migration_transport=pigeon", ocf.Configured, ocf.Success},
		{"migration_transport=ext", ocf.Configured, ocf.Success}, // it runs a program
		{"hypervisor=qemu:///system?command=/tmp/x", ocf.Configured, ocf.Configured},
		{"hypervisor=qemu+ext:///system?command=/tmp/x", ocf.Configured, ocf.Configured},
		{"hypervisor=qemu+ssh://localhost/system?a=b;NetCat=/tmp/x", ocf.Configured, ocf.Configured},
		{"remoteuri=qemu+ssh://%n/system?command=/tmp/x", ocf.Configured, ocf.Success},
		{"remoteuri=qemu+ssh://%n/system?%63ommand=/tmp/x", ocf.Configured, ocf.Success},
		{"remoteuri=qemu+ext://%n/system", ocf.Configured, ocf.Success},
		{"remoteuri=qemu+ssh://-oProxyCommand=x/system", ocf.Configured, ocf.Success},
		{"remoteuri=qemu+ssh://%n/system?keyfile=/root/id&no_verify=1", ocf.Success, ocf.Success},
		{"migrateuri=tcp://-x", ocf.Configured, ocf.Success},
		{"migrate_options=--migrateuri=tcp://%n?netcat=x", ocf.Configured, ocf.Success},
		{"migration_tls=yes", ocf.Success, ocf.Success},
		{"migration_tls=perhaps", ocf.Configured, ocf.Success},
		{"migration_user=root", ocf.Success, ocf.Success},
		{"migration_user=a b", ocf.Configured, ocf.Success},
		{"migration_user=x@y", ocf.Configured, ocf.Success},
		{"migration_speed=100", ocf.Success, ocf.Success},
		{"migration_speed=-1", ocf.Configured, ocf.Success},
		{"migration_speed=1.5", ocf.Configured, ocf.Success},
		{"migration_speed=99999999999999999999", ocf.Configured, ocf.Success},
		{"migration_downtime=50ms", ocf.Configured, ocf.Success},
		{"migration_network_suffix=-mig", ocf.Success, ocf.Success},
		{"migration_network_suffix=.mig/x", ocf.Configured, ocf.Success},
		{"migration_network_suffix=-a%2fb", ocf.Configured, ocf.Success},
		{"migration_network_suffix=;x", ocf.Configured, ocf.Success},
		{"migrateuri=tcp://%n:49152", ocf.Success, ocf.Success},
		{"migrateuri=tcp:%n:49152", ocf.Success, ocf.Success},
		{"migrateuri=%n", ocf.Configured, ocf.Success},
		{"remoteuri=qemu+ssh://%n/system", ocf.Success, ocf.Success},
		{"remoteuri=//%n", ocf.Configured, ocf.Success},
		{"force_stop=true", ocf.Success, ocf.Success},
		{"force_stop=maybe", ocf.Configured, ocf.Success},
		{"shutdown_mode=agent", ocf.Success, ocf.Success},
		{"shutdown_mode=agent,acpi", ocf.Success, ocf.Success},
		{"shutdown_mode=hope", ocf.Configured, ocf.Success},
		{"shutdown_mode=acpi,", ocf.Configured, ocf.Success},
		{"snapshot=/var/lib/x", ocf.Success, ocf.Success},
		{"snapshot=x", ocf.Configured, ocf.Success},
		{"autoset_utilization_cpu=true", ocf.Success, ocf.Success},
		{"unset_utilization_hv_memory=perhaps", ocf.Configured, ocf.Success},
		{"migrateport=49152", ocf.Success, ocf.Success},
		{"migrateport=0", ocf.Configured, ocf.Success},
		{"migrateport=65536", ocf.Configured, ocf.Success},
		{"migrate_options=--live --p2p --copy-storage-inc --bandwidth 100", ocf.Success, ocf.Success},
		{"migrate_options=--offline", ocf.Configured, ocf.Success},
		{"migrate_options=--migrateuri=%n", ocf.Configured, ocf.Success},
		{"monitor_scripts=/a /b c", ocf.Success, ocf.Success},
		{"monitor_scripts=a/b", ocf.Configured, ocf.Success},
		{"save_config_on_stop=1", ocf.Success, ocf.Success},
		{"sync_config_on_stop=2", ocf.Configured, ocf.Success},
		{"backingfile=/x.img", ocf.Success, ocf.Success},
		{"backingfile=x.img", ocf.Configured, ocf.Success},
		{"stateless=1", ocf.Configured, ocf.Success}, // without backingfile
		{"copyindirs=/a b", ocf.Configured, ocf.Success},
		{"start_resources=on", ocf.Success, ocf.Success},
		{"xmfile=/etc/xen/vm1", ocf.Configured, ocf.Configured}, // beside config
		{"name=a/b", ocf.Configured, ocf.Configured},
		{"name=other", ocf.Success, ocf.Success},
		{"shutdown_timeout=30", ocf.Success, ocf.Success},
		{"shutdown_timeout=30s", ocf.Configured, ocf.Success},
		{"shutdown_acpi=1", ocf.Success, ocf.Success},
		{"shutdown_acpi=x", ocf.Configured, ocf.Success},
		{"allow_mem_management=yes", ocf.Success, ocf.Success},
		{"reserved_Dom0_memory=512", ocf.Success, ocf.Success},
		{"reserved_Dom0_memory=a lot", ocf.Configured, ocf.Success},
		{"node_ip_attribute=migration-ip", ocf.Success, ocf.Success},
		{"check_tcp=192.0.2.7:80,[2001:db8::7]:22 web:8080", ocf.Success, ocf.Success},
		{"check_tcp=192.0.2.7", ocf.Configured, ocf.Success},
		{"check_udp=192.0.2.7:0", ocf.Configured, ocf.Success},
		{"check_agent=1", ocf.Success, ocf.Success},
		{"check_timeout=3", ocf.Success, ocf.Success},
		{"check_timeout=0", ocf.Configured, ocf.Success},
		{"check_grace=0", ocf.Success, ocf.Success},
		{"check_grace=-1", ocf.Configured, ocf.Success},
		{"check_memory=refuse", ocf.Success, ocf.Success},
		{"check_memory=no", ocf.Success, ocf.Success},
		{"check_memory=yes", ocf.Configured, ocf.Success},
		{"blackout_budget=250", ocf.Success, ocf.Success},
		{"blackout_budget=0.25", ocf.Configured, ocf.Success},
		{"drain_priority=-5", ocf.Success, ocf.Success},
		{"drain_priority=first", ocf.Configured, ocf.Success},
		{"drain_priority=1000001", ocf.Configured, ocf.Success},
		{"ladder=live", ocf.Success, ocf.Success},
		{"ladder=live, converge", ocf.Success, ocf.Success},
		{"ladder=converge", ocf.Configured, ocf.Success},
		{"ladder=live,postcopy", ocf.Success, ocf.Success},
		{"ladder=postcopy", ocf.Configured, ocf.Success},
		{"ladder=live,converge,postcopy,shutdown,destroy", ocf.Success, ocf.Success},
		{"ladder=live,shutdown", ocf.Success, ocf.Success},
		{"ladder=shutdown", ocf.Success, ocf.Success},
		{"ladder=live,destroy", ocf.Configured, ocf.Success},
		{"ladder=converge,live", ocf.Configured, ocf.Success},
		{"ladder=live,live", ocf.Configured, ocf.Success},
		{"ladder=live,save", ocf.Configured, ocf.Success}, // where to
		{"save_dir=/s", ocf.Success, ocf.Success},
		{"save_dir=s", ocf.Configured, ocf.Success},
		{"ladder=live,prayer", ocf.Configured, ocf.Success},
		{"watch=udp://192.0.2.7:7,tcp://192.0.2.7:7", ocf.Success, ocf.Success},
		{"watch=192.0.2.7:7", ocf.Configured, ocf.Success},
		{"announce=auto", ocf.Success, ocf.Success},
		{"announce=off", ocf.Success, ocf.Success},
		{"announce=192.0.2.7,52:54:00:12:34:56=2001:db8::7", ocf.Success, ocf.Success},
		{"announce=eth0", ocf.Configured, ocf.Success},
		{"announce=fe80::1", ocf.Configured, ocf.Success},
		{"mirror=node1,node2", ocf.Success, ocf.Success},
		{"mirror=node1", ocf.Configured, ocf.Success},
		{"mirror=node1,NODE1", ocf.Configured, ocf.Success},
		{"mirror=node1,node2,node3", ocf.Configured, ocf.Success},
		{"mirror_interval=10s", ocf.Success, ocf.Success},
		{"mirror_interval=vda=10s,vdb=1h", ocf.Success, ocf.Success},
		{"mirror_interval=10", ocf.Configured, ocf.Success},
		{"mirror_interval=900ms", ocf.Configured, ocf.Success},
		{"mirror_interval=vda=", ocf.Configured, ocf.Success},
		{"mirror_max_loss=0", ocf.Success, ocf.Success},
		{"mirror_max_loss=60s", ocf.Success, ocf.Success},
		{"mirror_max_loss=-1s", ocf.Configured, ocf.Success},
		{"mirror_freeze=yes", ocf.Success, ocf.Success},
		{"mirror_freeze=x", ocf.Configured, ocf.Success},
	} {
		t.Run(c.param, func(t *testing.T) {
			e := environ(c.param)
			start, move := c.start, c.start
			if name, _, _ := strings.Cut(c.param, "="); start == ocf.Configured && slices.Contains(ofAMove, name) {
				start, move = ocf.Success, ocf.Generic
			}
			checkCode(t, e.Check("validate-all"), c.start)
			checkCode(t, e.Check("migrate_to"), move)
			for _, action := range []string{"start", "migrate_from", "reload-agent"} {
				checkCode(t, e.Check(action), start)
			}
			if told := len(e.Overlooked("start")) > 0; told != (start != c.start) {
				t.Errorf("a start tells of %v", e.Overlooked("start"))
			}
			for _, action := range []string{"monitor", "status", "stop"} {
				checkCode(t, e.Check(action), c.monitor)
			}
			if err := e.Check("validate-all"); err != nil && !strings.Contains(err.Error(), strings.SplitN(c.param, "=", 2)[0]) {
				t.Errorf("reason %q does not name the parameter", err)
			}
		})
	}
}

func TestProbe(t *testing.T) {
	const pacemaker, interval = "OCF_RESKEY_crm_feature_set=3.20.0", "OCF_RESKEY_CRM_meta_interval="
	for _, c := range []struct {
		environ []string
		want    bool
	}{
		{[]string{pacemaker}, true}, {[]string{pacemaker, interval + "0"}, true},
		{[]string{pacemaker, interval + "10000"}, false},
		{[]string{interval + "0"}, true}, {[]string{interval + "10000"}, false}, {nil, false},
	} {
		if e := ParseEnviron(c.environ); e.Probe != c.want {
			t.Errorf("%v is a probe: %t", c.environ, e.Probe)
		}
	}
}

func TestParseEnviron(t *testing.T) {
	e := ParseEnviron([]string{"PATH=/bin", "OCF_RESOURCE_INSTANCE=vm:0", "OCF_RESKEY_CRM_meta_timeout=20000",
		"OCF_RESKEY_CRM_meta_interval=0", "OCF_RESKEY_migration_downtime=30", "OCF_RESKEY_force_stop=ja",
		"OCF_RESKEY_save_confing_on_stop=1", "OCF_RESKEY_crm_feature_set=3.19.0", "OCF_RESKEY_trace_ra=1"})
	if e.Instance != "vm:0" || e.Timeout != 20*time.Second || !e.Probe || e.Bare || !e.Pacemaker ||
		e.Params.Downtime != 30*time.Millisecond || !e.Params.ForceStop {
		t.Errorf("parsed %+v", e)
	}
	if len(e.Ignored) != 1 || e.Ignored[0] != "save_confing_on_stop" {
		t.Errorf("ignored %v", e.Ignored)
	}
	for _, c := range []struct {
		vars  []string
		probe bool
	}{
		{[]string{"OCF_RESKEY_crm_feature_set=3.20.0"}, true}, // Pacemaker's, of a probe
		{[]string{"OCF_RESKEY_crm_feature_set=3.20.0", "OCF_RESKEY_CRM_meta_interval=10000"}, false},
		{[]string{"OCF_RESKEY_CRM_meta_interval=0"}, true},
		{[]string{"OCF_RESOURCE_INSTANCE=vm"}, false}, // Heartbeat's face, or a person
	} {
		if e := ParseEnviron(c.vars); e.Probe != c.probe {
			t.Errorf("%v: a probe is %v", c.vars, e.Probe)
		}
	}
	if bare := ParseEnviron([]string{"PATH=/bin"}); !bare.Bare || bare.Instance != "default" || bare.Probe || bare.Pacemaker {
		t.Errorf("parsed %+v", bare)
	}
}

// fuzzSeeds has a value for each parameter, as somebody may type it.
var fuzzSeeds = []string{
	"config=/x.xml", "hypervisor=qemu:///system", "hypervisor=qemu://[::1]:99/system", "force_stop=ja", "migration_transport=tcp",
	"migration_user=a", "migration_downtime=30", "migration_speed=1", "migration_network_suffix=-m",
	"migrateuri=tcp:%n:1", "migrateport=49152",
	"migration_tls=yes", "migrate_options=--migrateuri=tcp://%n --timeout 5 --migrate-disks vda,vdb --parallel",
	"remoteuri=%n", "monitor_scripts=/a b",
	"autoset_utilization_cpu=1", "autoset_utilization_host_memory=0", "autoset_utilization_hv_memory=no",
	"unset_utilization_cpu=1",
	"unset_utilization_host_memory=x", "unset_utilization_hv_memory=1", "save_config_on_stop=1",
	"sync_config_on_stop=1", "snapshot=/s",
	"backingfile=/b", "stateless=1", "copyindirs=/a /b", "shutdown_mode=acpi,agent", "start_resources=1",
	"xmfile=/x.cfg", "name=vm1",
	"shutdown_timeout=0", "shutdown_acpi=1", "allow_mem_management=1", "reserved_Dom0_memory=512", "node_ip_attribute=ip",
	"check_tcp=a:1,b:2", "check_udp=[::1]:53", "check_agent=1", "check_timeout=9999999999999", "check_grace=0",
	"check_memory=no", "blackout_budget=250",
	"drain_priority=-1", "ladder=live,converge,save", "save_dir=/s", "watch=udp://a:7,tcp://[::1]:7",
	"announce=52:54:00:12:34:56=192.0.2.7,2001:db8::7", "disks=auto",
	"mirror=a,b", "mirror_interval=10s,vda=1h", "mirror_max_loss=1m", "mirror_freeze=1",
}

func TestFuzzSeedsKnowEveryParameter(t *testing.T) {
	for _, p := range metadata.Parameters() {
		if !slices.ContainsFunc(fuzzSeeds, func(s string) bool { return strings.HasPrefix(s, p.Name+"=") }) {
			t.Errorf("no seed sets %s", p.Name)
		}
	}
}

func FuzzParseEnviron(f *testing.F) {
	for i, seed := range fuzzSeeds {
		f.Add(Prefix+seed, Prefix+fuzzSeeds[(i+1)%len(fuzzSeeds)], "node2")
	}
	f.Add("=", "OCF_RESKEY_", "")
	f.Add("OCF_RESKEY_CRM_meta_timeout=1", "OCF_RESKEY_migration_network_suffix=-m", "n.example")
	f.Fuzz(func(t *testing.T, a, b, node string) {
		e := ParseEnviron([]string{a, b})
		p := e.Params
		if e.Timeout < 0 || e.Timeout > ocf.MaxTimeout || p.Hypervisor == "" || p.Downtime < 0 ||
			p.BlackoutBudget < 0 || p.Options.Timeout < 0 ||
			p.Checks.Timeout <= 0 || p.Checks.Grace < 0 || p.ShutdownTimeout < 0 || p.DrainPriority > maxPriority ||
			p.SyncConfig && !p.SaveConfig || p.Mirror.Every(a) < time.Second || p.Mirror.MaxLoss < 0 {
			t.Errorf("parsed %+v", e)
		}
		for _, p := range e.Problems {
			if _, known := metadata.Lookup(p.Param); !known || p.Err.Reason == "" || p.Err.Code != ocf.Configured ||
				!strings.Contains(p.Err.Reason, p.Param) {
				t.Errorf("problem %+v", p)
			}
		}
		if g := p.ShutdownTime(time.Minute, 90*time.Second); g <= 0 || g > time.Minute {
			t.Errorf("%+v waits %v for the guest", p, g)
		}
		_, _ = p.Route(node, a)
	})
}

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		text string
		want Options
		bad  string
	}{
		{"", Options{}, ""},
		{"--live --p2p --verbose --abort-on-error --auto-converge", Options{}, ""},
		{"  --copy-storage-all\t--unsafe ", Options{Unsafe: true, MigrateOptions: libvirt.MigrateOptions{CopyAll: true}}, ""},
		{"--parallel --parallel-connections 4",
			Options{MigrateOptions: libvirt.MigrateOptions{Parallel: true, Connections: 4}}, ""},
		{"--bandwidth=50 --timeout 30", Options{Bandwidth: 50, Timeout: 30 * time.Second}, ""},
		{"--migrateuri=tcp://%n:1 --tls",
			Options{MigrateURI: "tcp://%n:1", MigrateOptions: libvirt.MigrateOptions{TLS: true}}, ""},
		{"--migrateuri tcp://%n", Options{MigrateURI: "tcp://%n"}, ""},
		{"--copy-storage-inc --migrate-disks vda,vdb --disks-port 49000",
			Options{MigrateOptions: libvirt.MigrateOptions{CopyInc: true, Disks: []string{"vda", "vdb"},
				DisksPort: 49000}}, ""},
		{"--compressed --comp-methods xbzrle --comp-xbzrle-cache 1048576",
			Options{MigrateOptions: libvirt.MigrateOptions{Compressed: true, Compression: "xbzrle",
				XBZRLECache: 1 << 20}}, ""},
		{"--persistent --undefinesource --postcopy",
			Options{MigrateOptions: libvirt.MigrateOptions{Persist: true, UndefineSource: true, PostCopy: true}}, ""},
		{"--offline", Options{}, "--offline"},
		{"live", Options{}, "live"},
		{"--tls=yes", Options{}, "--tls"},
		{"--bandwidth", Options{}, "--bandwidth"},
		{"--bandwidth --tls", Options{}, "--bandwidth"},
		{"--bandwidth fast", Options{}, "fast"},
		{"--comp-methods magic", Options{}, "magic"},
		{"--timeout 0", Options{}, "--timeout"},
		{"--dname $(reboot)", Options{}, "--dname"},
		{"--", Options{}, "--"},
	} {
		t.Run(c.text, func(t *testing.T) {
			e := environ("migrate_options=" + c.text)
			if !reflect.DeepEqual(e.Params.Options, c.want) {
				t.Errorf("read %+v, want %+v", e.Params.Options, c.want)
			}
			if c.bad == "" && len(e.Problems) > 0 || c.bad != "" &&
				(len(e.Problems) != 1 || !strings.Contains(e.Problems[0].Err.Reason, c.bad)) {
				t.Errorf("problems %v, want one about %q", e.Problems, c.bad)
			}
		})
	}
}

// Parameters that contradict each other, and defaults that depend on each other.
func TestPairs(t *testing.T) {
	xl := func(params ...string) Environ {
		vars := []string{Prefix + "xmfile=/etc/xen/vm1"}
		for _, p := range params {
			vars = append(vars, Prefix+p)
		}
		return ParseEnviron(vars)
	}
	for name, c := range map[string]struct {
		e   Environ
		bad string
	}{
		"an xl file alone":         {xl(), ""},
		"no file":                  {ParseEnviron([]string{Prefix + "hypervisor=qemu:///system"}), "config"},
		"force_stop, snapshot":     {environ("force_stop=1", "snapshot=/s"), "snapshot"},
		"no patience, snapshot":    {environ("shutdown_timeout=0", "snapshot=/s"), "snapshot"},
		"stateless, backingfile":   {environ("stateless=1", "backingfile=/b"), ""},
		"overlay for an xl file":   {xl("backingfile=/b"), "backingfile"},
		"saved over an xl file":    {xl("save_config_on_stop=1"), "save_config_on_stop"},
		"a relative xl file":       {ParseEnviron([]string{Prefix + "xmfile=vm1"}), "xmfile"},
		"two paths of an overlay":  {environ("backingfile=/b", "copyindirs=/a /b"), ""},
		"an xl file and libvirt's": {xl("config=/etc/vm1.xml"), "config"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.bad == "" && len(c.e.Problems) > 0 || c.bad != "" && (len(c.e.Problems) != 1 || c.e.Problems[0].Param != c.bad) {
				t.Errorf("problems %+v, want one with %q", c.e.Problems, c.bad)
			}
		})
	}
	if p := xl().Params; p.Hypervisor != xenURI || !p.IsXen() || len(p.Utilization) != 0 ||
		p.ShutdownTime(time.Minute, time.Minute) != 40*time.Second {
		t.Errorf("of an xl file alone: %+v", p)
	}
	all := []Utilization{{Name: "cpu"}, {Name: "host_memory"}, {Name: "hv_memory"}}
	if p := environ().Params; p.IsXen() || !slices.Equal(p.Utilization, all) ||
		p.ShutdownTime(time.Minute, time.Minute) != time.Minute {
		t.Errorf("of config alone: %+v", p)
	}
	if p := environ("autoset_utilization_cpu=1", "unset_utilization_cpu=1", "autoset_utilization_host_memory=off",
		"autoset_utilization_hv_memory=off").Params; !slices.Equal(p.Utilization, []Utilization{{Name: "cpu"}}) {
		t.Errorf("utilization %v", p.Utilization)
	}
	if p := environ("autoset_utilization_cpu=0", "unset_utilization_cpu=1", "unset_utilization_hv_memory=1",
		"autoset_utilization_host_memory=off").Params; !slices.Equal(p.Utilization,
		[]Utilization{{Name: "cpu", Remove: true}, {Name: "hv_memory", Remove: true}}) {
		t.Errorf("utilization %+v", p.Utilization)
	}
	if p := environ("shutdown_timeout=0", "shutdown_acpi=1", "sync_config_on_stop=1").Params; !p.ForceStop ||
		p.ShutdownMode != "acpi" || !p.SaveConfig {
		t.Errorf("parsed %+v", p)
	}
}

func TestDefaultURI(t *testing.T) {
	conf := filepath.Join(t.TempDir(), "libvirt.conf")
	if err := os.WriteFile(conf, []byte("# uri_default = \"qemu:///no\"\nuri_default = \"qemu+unix:///system\"\n"),
		0o644); err != nil {
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

func TestRoute(t *testing.T) {
	for _, c := range []struct {
		name, node   string
		p            Params
		target, data string
	}{
		{"plain", "node2", Params{}, "qemu://node2/system", ""},
		{"transport", "node2", Params{Transport: "ssh"}, "qemu+ssh://node2/system", ""},
		{"port", "node2", Params{Hypervisor: "qemu://localhost:9999/system", Transport: "tcp"},
			"qemu+tcp://node2:9999/system", ""},
		{"query kept", "node2", Params{Hypervisor: "qemu:///system?no_verify=1", Transport: "tls"},
			"qemu+tls://node2/system?no_verify=1", ""},
		{"local transport replaced", "node2", Params{Hypervisor: "qemu+unix:///system", Transport: "tcp"},
			"qemu+tcp://node2/system", ""},
		{"user", "node2", Params{Transport: "ssh", User: "virt"}, "qemu+ssh://virt@node2/system", ""},
		{"suffix", "node2", Params{Transport: "ssh", Suffix: "-mig"}, "qemu+ssh://node2-mig/system", "tcp://node2-mig"},
		{"suffix in a FQDN", "node2.example.org", Params{Suffix: "-mig"}, "qemu://node2-mig.example.org/system",
			"tcp://node2-mig.example.org"},
		{"user and suffix", "node2", Params{User: "virt", Suffix: "-mig"}, "qemu://virt@node2-mig/system", "tcp://node2-mig"},
		{"migrateuri", "node2", Params{MigrateURI: "tcp://%n:49200"}, "qemu://node2/system", "tcp://node2:49200"},
		{"migrateuri with suffix", "node2", Params{MigrateURI: "tcp://%n", Suffix: "-mig"}, "qemu://node2-mig/system",
			"tcp://node2-mig"},
		{"migrateuri with user", "node2", Params{MigrateURI: "tcp://%n", User: "virt"}, "qemu://virt@node2/system",
			"tcp://virt@node2"},
		{"migrateuri without %n", "node2", Params{MigrateURI: "tcp://10.0.0.2"}, "qemu://node2/system", "tcp://10.0.0.2"},
		{"migrateport", "node2", Params{MigratePort: 49152}, "qemu://node2/system", "tcp://node2:49152"},
		{"migrateport with suffix", "node2.example.org", Params{MigratePort: 49152, Suffix: "-mig", User: "virt"},
			"qemu://virt@node2-mig.example.org/system", "tcp://node2-mig.example.org:49152"},
		{"migrateport and migrateuri", "node2", Params{MigratePort: 49152, MigrateURI: "tcp://%n"},
			"qemu://node2/system", "tcp://node2"},
		{"--migrateuri", "node2", Params{Options: Options{MigrateURI: "tcp://%n:7"}, User: "virt"},
			"qemu://virt@node2/system", "tcp://virt@node2:7"},
		{"--migrateuri and migrateuri", "node2",
			Params{Options: Options{MigrateURI: "tcp://%n:7"}, MigrateURI: "tcp://%n:8"}, "qemu://node2/system",
			"tcp://node2:8"},
		{"Xen", "node2", Params{Hypervisor: "xen:///system", Transport: "ssh"}, "xen+ssh://node2/system", ""},
		{"remoteuri", "node2", Params{RemoteURI: "qemu+tcp://%n.lan/system", User: "virt", Suffix: "-mig",
			Transport: "ssh"}, "qemu+tcp://node2.lan/system", "tcp://node2-mig"},
		{"remoteuri and migrateuri", "node2",
			Params{RemoteURI: "qemu+tcp://%n/system", MigrateURI: "tcp://%n", Suffix: "-mig"},
			"qemu+tcp://node2/system", "tcp://node2"},

		{"address", "node2 at 192.0.2.2", Params{Transport: "tcp", Suffix: "-mig"}, "qemu+tcp://192.0.2.2/system",
			"tcp://192.0.2.2"},
		{"address and user", "node2 at 192.0.2.2", Params{User: "virt"}, "qemu://virt@192.0.2.2/system", "tcp://192.0.2.2"},
		{"address and migrateport", "node2 at 192.0.2.2", Params{MigratePort: 7}, "qemu://192.0.2.2/system", "tcp://192.0.2.2:7"},
		{"address and migrateuri", "node2 at 192.0.2.2", Params{MigrateURI: "tcp://%n:7"}, "qemu://192.0.2.2/system",
			"tcp://192.0.2.2:7"},
		{"address, remoteuri and migrateuri", "node2 at 192.0.2.2",
			Params{RemoteURI: "qemu+tcp://%n/system", MigrateURI: "tcp://%n"}, "qemu+tcp://192.0.2.2/system",
			"tcp://192.0.2.2"},
		{"a name as the address", "node2 at fast2.lan", Params{Suffix: "-mig"}, "qemu://fast2.lan/system", "tcp://fast2.lan"},
		{"IPv6 address", "node2 at 2001:db8::2", Params{Transport: "tcp"}, "qemu+tcp://[2001:db8::2]/system",
			"tcp://[2001:db8::2]"},
		{"IPv6 address and migrateport", "node2 at 2001:db8::2", Params{MigratePort: 7}, "qemu://[2001:db8::2]/system",
			"tcp://[2001:db8::2]:7"},
		{"IPv6 address in brackets", "node2 at 2001:db8::2",
			Params{RemoteURI: "qemu+tcp://[%n]/system", MigrateURI: "tcp://[%n]:7"}, "qemu+tcp://[2001:db8::2]/system",
			"tcp://[2001:db8::2]:7"},
		{"a node named by its address", "192.0.2.2", Params{Suffix: "-mig"}, "qemu://192.0.2.2/system", ""},
		{"a node named by its IPv6 address", "2001:db8::2", Params{}, "qemu://[2001:db8::2]/system", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.p.Hypervisor == "" {
				c.p.Hypervisor = systemURI
			}
			node, address, _ := strings.Cut(c.node, " at ")
			got, err := c.p.Route(node, address)
			if want := (Route{Node: node, URI: c.target, DataURI: c.data}); err != nil || got != want {
				t.Errorf("got %+v, %v, want %+v", got, err, want)
			}
		})
	}
	for _, c := range []struct {
		node, address string
		p             Params
	}{
		{"-oProxyCommand=x", "", Params{Transport: "ssh"}},
		{"node2/system?command=x#", "", Params{}},
		{"node2?no_verify=1#", "", Params{}},
		{"node2@evil", "", Params{}},
		{"node 2", "", Params{}},
		{"node2", "-x", Params{}},
		{"node2", "", Params{Suffix: "/session?#"}},
		{"node2", "", Params{User: "-oProxyCommand=x"}},
		{"node2", "", Params{User: "a@evil/"}},
		{"node2", "", Params{Transport: "ext"}},
		{"node2", "", Params{Transport: "ssh://evil/?command=x#"}},
		{"node2", "", Params{RemoteURI: "qemu+ext://%n/system?command=/tmp/x"}},
		{"-x", "", Params{RemoteURI: "qemu+ssh://%n/system"}},
		{"node2", "", Params{MigrateURI: "tcp://%n?command=x"}},
	} {
		c.p.Hypervisor = systemURI
		if r, err := c.p.Route(c.node, c.address); err == nil {
			t.Errorf("%q, %+v: there is a way: %+v", c.node, c.p, r)
		}
	}
	fixed := Params{Hypervisor: systemURI, RemoteURI: "qemu+tcp://192.0.2.2/system"}
	if r, err := fixed.Route("node 2", ""); err != nil || r.URI != fixed.RemoteURI {
		t.Errorf("a name that is no part of the URI: %+v, %v", r, err)
	}
	if uri, err := (Params{Hypervisor: "qemu://[::1]/system"}).Route("node2", ""); err == nil {
		t.Errorf("a URI without place for the node became %q", uri)
	}
}

// Whether it is requested by the one word or the other, a move is encrypted; and never where it cannot be.
func TestMigrationTLS(t *testing.T) {
	for _, c := range []struct {
		params  []string
		tls     bool
		to      string // the name in the target's certificate
		problem string // the parameter that is refused
	}{
		{nil, false, "", ""},
		{[]string{"migration_tls=no"}, false, "", ""},
		{[]string{"migration_tls=yes"}, true, "", ""},
		{[]string{"migrate_options=--tls"}, true, "", ""},
		{[]string{"migration_tls=no", "migrate_options=--tls"}, true, "", ""},
		{[]string{"migration_tls=1", "migrate_options=--tls-destination=%n.lan"}, true, "node2.lan", ""},
		{[]string{"migration_tls=1", "migrate_options=--tls-destination kvm"}, true, "kvm", ""},
		{[]string{"migrate_options=--tls-destination=%n"}, false, "node2", "migrate_options"},
		{[]string{"migration_tls=maybe"}, false, "", "migration_tls"},
		{[]string{"migration_tls=yes", "migrate_options=--tunnelled"}, true, "", "migration_tls"},
		{[]string{"migrate_options=--tunnelled --tls"}, true, "", "migrate_options"},
		{[]string{"migration_tls=yes", "migrate_options=--parallel --zerocopy"}, true, "", "migration_tls"},
		{[]string{"migration_tls=yes", "hypervisor=xen:///system"}, true, "", "migration_tls"},
	} {
		e := environ(c.params...)
		var bad []string
		for _, p := range e.Problems {
			bad = append(bad, p.Param)
		}
		to, err := e.Params.Route("node2", "")
		if err != nil {
			t.Fatal(err)
		}
		o := e.Params.Move("vm1", "", to).Options
		if o.TLS != c.tls || o.TLSDestination != c.to || strings.Join(bad, ",") != c.problem {
			t.Errorf("%q: TLS %t to %q, problems with %q", c.params, o.TLS, o.TLSDestination, bad)
		}
	}
}

func TestEncrypts(t *testing.T) {
	for _, c := range []struct {
		params []string
		want   bool
	}{
		{nil, false},
		{[]string{"migration_transport=ssh"}, false}, // libvirt's own connection alone
		{[]string{"migration_transport=tls"}, false},
		{[]string{"migration_tls=yes", "migration_transport=tcp"}, true},
		{[]string{"migrate_options=--tls"}, true},
		{[]string{"migrate_options=--tunnelled", "migration_transport=ssh"}, true},
		{[]string{"migrate_options=--tunnelled"}, true}, // over TLS
		{[]string{"migrate_options=--tunnelled", "migration_transport=tcp"}, false},
		{[]string{"migrate_options=--tunnelled", "remoteuri=qemu+tcp://%n/system"}, false},
	} {
		p := environ(c.params...).Params
		to, err := p.Route("node2", "")
		if err != nil || p.Encrypts(to) != c.want {
			t.Errorf("%q: %t, %v", c.params, p.Encrypts(to), err)
		}
	}
}

func TestLadder(t *testing.T) {
	for in, want := range map[string]string{
		"":                           "live converge shutdown destroy",
		"live":                       "live shutdown destroy",
		"live,converge,postcopy":     "live converge postcopy shutdown destroy",
		"live, save":                 "live save shutdown destroy",
		"save":                       "save shutdown destroy",
		"live,save,shutdown,destroy": "live save shutdown destroy",
		"shutdown":                   "shutdown destroy",
	} {
		p := environ("ladder="+in, "save_dir=/s").Params
		if got := strings.Trim(fmt.Sprint(p.Ladder), "[]"); got != want {
			t.Errorf("ladder=%s is %q, want %q", in, got, want)
		}
	}
	for _, c := range []struct{ params, words string }{
		{"ladder=live,prayer", `unknown ladder rung "prayer"`},
		{"ladder=save,live", "live after save"},
		{"ladder=postcopy", "postcopy without live"},
		{"ladder=live,destroy", "set force_stop"},
		{"ladder=live,save", "set save_dir to a directory"},
		{"ladder=live,save save_dir=/s force_stop=1", "keep one of them"},
		{"save_dir=/s snapshot=/t", "both set"},
	} {
		e := environ(strings.Fields(c.params)...)
		if len(e.Problems) != 1 || !strings.Contains(e.Problems[0].Err.Error(), c.words) {
			t.Errorf("%s: %v, want one problem with %q", c.params, e.Problems, c.words)
		}
	}
}

func TestDisksParameter(t *testing.T) {
	const base = "OCF_RESKEY_config=/x.xml"
	for _, c := range []struct {
		vars []string
		word string // of the problem
	}{
		{[]string{"OCF_RESKEY_disks=copy"}, ""},
		{[]string{"OCF_RESKEY_disks=shared", "OCF_RESKEY_migrate_options=--copy-storage-all"}, ""},
		{[]string{"OCF_RESKEY_disks=all"}, "use one of shared, copy, auto"},
		{[]string{"OCF_RESKEY_disks=auto", "OCF_RESKEY_migrate_options=--copy-storage-inc"}, "keep one of them"},
		{[]string{"OCF_RESKEY_disks=auto", "OCF_RESKEY_migrate_options=--migrate-disks vda"}, "keep one of them"},
		{[]string{"OCF_RESKEY_disks=auto", "OCF_RESKEY_migrate_options=--tunnelled"}, "remove one of them"},
		{[]string{"OCF_RESKEY_disks=copy", "OCF_RESKEY_hypervisor=xen:///system"}, "Xen copies no disks"},
	} {
		e := ParseEnviron(append(c.vars, base))
		if (len(e.Problems) > 0) != (c.word != "") || c.word != "" && !strings.Contains(e.Problems[0].Err.Reason, c.word) {
			t.Errorf("%q: %+v, want %q", c.vars, e.Problems, c.word)
		}
	}
}

// What is written in the table as a default can be read, and is what an unset parameter has.
func TestDefaultsOfTheTable(t *testing.T) {
	unset := environ().Params
	for _, p := range metadata.Parameters() {
		if p.NoDefault || p.Default == "" || p.Name == "blackout_budget" { // unset, it may be exceeded: see its text
			continue
		}
		e := environ(p.Name + "=" + p.Default)
		if !reflect.DeepEqual(e.Params, unset) || len(e.Problems) > 0 {
			t.Errorf("%s=%s is %+v, %v; unset it is %+v", p.Name, p.Default, e.Params, e.Problems, unset)
		}
	}
	if unset.Checks.Timeout != 5*time.Second || unset.Checks.Grace != time.Minute || len(unset.Ladder) != 4 {
		t.Errorf("unset: %+v", unset)
	}
	for name, words := range map[string][]string{"disks": asStrings(preflight.DiskModes),
		"check_memory": asStrings(preflight.MemoryModes)} {
		p, _ := metadata.Lookup(name)
		slices.Sort(words)
		if have := slices.Sorted(slices.Values(p.Words)); !slices.Equal(have, words) {
			t.Errorf("%s: the table has %q, and the engine %q", name, have, words)
		}
	}
}

func asStrings[S ~string](all []S) (texts []string) {
	for _, s := range all {
		texts = append(texts, string(s))
	}
	return texts
}

// What the agent notes of a resource makes the same parameters when it is read as a call.
func TestSet(t *testing.T) {
	e := ParseEnviron([]string{"OCF_RESOURCE_INSTANCE=web", "OCF_RESKEY_config=/a.xml", "OCF_RESKEY_migrateuri=",
		"OCF_RESKEY_migration_transport=tcp", "OCF_RESKEY_CRM_meta_timeout=20000", "OCF_RESKEY_crm_feature_set=3.19",
		"OCF_RESKEY_unknown=1", "HOME=/root"})
	want := map[string]string{"config": "/a.xml", "migration_transport": "tcp"}
	if !reflect.DeepEqual(e.Set, want) {
		t.Errorf("%v, want %v", e.Set, want)
	}
}

func TestMirror(t *testing.T) {
	p := environ("mirror=node1, Node2", "mirror_interval=30s,vdb=1h", "mirror_max_loss=90s", "mirror_freeze=1").Params
	if m := p.Mirror; len(m.Nodes) != 2 || m.Every("vda") != 30*time.Second || m.Every("vdb") != time.Hour ||
		m.MaxLoss != 90*time.Second || !m.Freeze || p.Disks != preflight.DisksCopy {
		t.Errorf("read %+v, disks=%s", m, p.Disks)
	}
	for params, want := range map[string]time.Duration{
		"": 10 * time.Minute, "mirror_interval=1s": time.Minute, "mirror_interval=30s,vdb=1h": 10 * time.Hour,
		"mirror_interval=2m mirror_max_loss=0": 0, "mirror_max_loss=0s": 0, "mirror_max_loss=5s": 5 * time.Second,
		"mirror_interval=2000000h": 10 << 59,
	} {
		if got := environ(strings.Fields(params)...).Params.Mirror.MaxLoss; got != want {
			t.Errorf("%q: at most %v, want %v", params, got, want)
		}
	}
	for node, want := range map[string]string{"node1": "Node2", "node2": "node1", "node3": "", "": ""} {
		if peer, err := p.Mirror.Peer(node); peer != want || (err == nil) != (want != "") {
			t.Errorf("the peer of %q is %q, %v", node, peer, err)
		}
	}
	if p := environ().Params; len(p.Mirror.Nodes) > 0 || p.Mirror.Every("vda") != time.Minute || p.Disks != preflight.DisksShared {
		t.Errorf("by default %+v, disks=%s", p.Mirror, p.Disks)
	}
	for _, params := range [][]string{
		{"hypervisor=xen:///system"}, {"backingfile=/b"}, {"backingfile=/b", "stateless=1"},
		{"save_dir=/s"}, {"snapshot=/s"}, {"disks=auto", "migrate_options=--copy-storage-all"},
	} {
		if err := environ(append(params, "mirror=a,b")...).Check("validate-all"); err == nil {
			t.Errorf("mirror with %q is accepted", params)
		}
	}
}
