package setup

import (
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/control"
	"github.com/vmferry/vmferry/hbplugin/guard/settings"
	"github.com/vmferry/vmferry/hbplugin/guard/timing"
	"github.com/vmferry/vmferry/hbplugin/pacemaker/cib"
	"github.com/vmferry/vmferry/hbplugin/ring"
	"github.com/vmferry/vmferry/resource/domainxml"
)

// well is a node where nothing is wrong.
func well() Observed {
	h := header
	return Observed{
		Node: "alpha", Header: &h, ManagerName: "pacemaker", Manager: timing.Pacemaker(3*time.Second, 0, 0),
		Settings: settings.Settings{Device: "/dev/x", Revoke: []string{"/sbin/revoke"},
			Ping: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Link: map[string]netip.AddrPort{"alpha": {}, "beta": {}}},
		Process: Process{Active: true, Enabled: true, Phase: "held",
			Prepared: control.Prepared{RealTime: true, Locked: true, Destroys: true}},
		Pacemaker: &Pacemaker{Devices: []FenceDevice{{ID: "guard", Unfencing: true, Timeout: time.Minute}}},
		Quorum:    &ring.Quorum{Nodes: []string{"beta", "alpha"}, TwoNode: true, WaitForAll: true},
	}
}

func TestCheck(t *testing.T) {
	for name, test := range map[string]struct {
		change  func(*Observed)
		want    string // "" for nothing
		remedy  string
		problem bool
	}{
		"all is well": {func(*Observed) {}, "", "", false},
		"stonith-timeout": {func(o *Observed) { o.Pacemaker.Devices[0].Timeout = 10 * time.Second },
			"the fence timeout of 10s is shorter than the guard's worst case: set it to 24s or more (expiry 4.408s + 3 x poll",
			"crm_attribute --name stonith-timeout --update 24s", true},
		"pcmk_off_timeout": {func(o *Observed) {
			o.Pacemaker.Devices[0].Timeout, o.Pacemaker.Devices[0].By = 10*time.Second, "pcmk_off_timeout"
		}, "the fence timeout of 10s", "crm_resource --resource guard --set-parameter pcmk_off_timeout --parameter-value 24s", true},
		"a lease device of this node": {func(o *Observed) { o.OnThisNode = true },
			"/dev/x is on a file system of this node alone", "an NFS share that all nodes have", false},
		"times": {func(o *Observed) { o.Header.Times.SelfKill = time.Second }, "self-kill 1s is less than 3 renewals of 500ms",
			"make the lease device again", true},
		"a hang":             {func(o *Observed) { o.Settings.Revoke = nil }, "is never proven gone", "see guard.toml(5)", true},
		"a hang, accepted":   {func(o *Observed) { o.Settings.Revoke, o.Settings.TrustExpiry = nil, true }, "trust_expiry accepts", "", false},
		"a watchdog instead": {func(o *Observed) { o.Settings.Revoke, o.Watchdog = nil, 10*time.Second }, "", "", false},
		"a watchdog that nobody feeds": {func(o *Observed) { o.Settings.Watchdog = "/dev/watchdog" },
			"the guard does not feed it", "systemctl restart vmferry-guard", true},
		"no ping list": {func(o *Observed) { o.Settings.Ping = nil }, "the ping list is empty", "as ping in guard.toml", false},
		"no link":      {func(o *Observed) { o.Settings.Link = nil }, "storage that fails for 3s kills all guests", "as link", false},

		"no guard": {func(o *Observed) { o.Process = Process{State: "failed"} }, "does not run on this node (failed)",
			"systemctl enable --now vmferry-guard", true},
		"not after a boot": {func(o *Observed) { o.Process.Enabled = false }, "not after the next boot", "systemctl enable", true},
		"a silent guard": {func(o *Observed) { o.Process.Silent = errors.New("timeout") }, "does not answer: timeout",
			"systemctl status", true},
		"no lease": {func(o *Observed) { o.Process.Phase, o.Process.NotWell = "out", "it does not hold its lease" },
			"it does not hold its lease", "fence_vmferry --action on", true},
		"a slot that cannot be read": {func(o *Observed) { o.Process.NotWell = "the slot of node beta cannot be read" },
			"the slot of node beta cannot be read", "vmferry guard status", true},
		"no real-time priority": {func(o *Observed) { o.Process.RealTime = false }, "no real-time priority",
			"journalctl -u vmferry-guard", false},
		"no way to destroy sockets": {func(o *Observed) { o.Process.Destroys = false }, "cannot destroy sockets",
			"CONFIG_INET_DIAG_DESTROY", false},
		"no locked memory": {func(o *Observed) { o.Process.Locked = false }, "memory is not locked", "LimitMEMLOCK", false},

		"a node whose guard has never run": {func(o *Observed) { o.NeverRan = []string{"alpha", "beta"} },
			"vmferry-guard has never run on node beta", "on beta type: systemctl enable --now vmferry-guard", true},

		"a disk with a cache": {func(o *Observed) {
			o.Cached = []CachedDisk{{"web", "NFS", domainxml.CachedDisk{Target: "vda", Path: "/srv/a.img", Cache: "default"}}}
		}, "guest web, disk vda (/srv/a.img, on NFS) has cache mode default: the kernel may write", "<driver cache='none'/>", false},

		"a backend of somebody's": {func(o *Observed) {
			o.Backends = []Backend{{"web", "", domainxml.Backend{Device: "disk vda"}}}
		}, "guest web, disk vda: a program serves it that libvirt has not started", "give disk vda another source", false},
		"a shared directory": {func(o *Observed) {
			o.Backends = []Backend{{"web", "NFS", domainxml.Backend{Device: "file system data", Dir: "/srv/x"}}}
		}, "guest web, file system data (/srv/x, on NFS): the kernel may write", "mount it over the network", false},

		"no manager": {func(o *Observed) { o.ManagerName, o.Pacemaker, o.Quorum = "", nil, nil }, "no cluster manager runs here",
			"systemctl start pacemaker", true},
		"stonith off": {func(o *Observed) { o.Pacemaker.Off = true }, "stonith-enabled is false",
			"crm_attribute --name stonith-enabled --update true", true},
		"no fence device": {func(o *Observed) { o.Pacemaker.Devices = nil }, "no fence device is of fence_vmferry",
			"cibadmin --create --scope resources --xml-text '<primitive", true},
		"no unfencing": {func(o *Observed) { o.Pacemaker.Devices[0].Unfencing = false }, "provides=unfencing",
			"crm_resource --resource guard --meta --set-parameter provides", true},
		"a topology": {func(o *Observed) { o.Pacemaker.Without = []string{"node2"} }, "the fencing topology for node2 does not name",
			"pcs stonith level add 2 NODE guard", true},
		"a hasty guest": {func(o *Observed) { o.Pacemaker.Hasty = []string{"web"} }, "guest web is started before",
			"crm_resource --resource web --meta --set-parameter requires --parameter-value fencing", true},
		"another agent": {func(o *Observed) { o.Pacemaker.Guests = []string{"db"} }, "guest db is of another resource agent",
			"ocf:vmferry:Domain", true},
		"an address": {func(o *Observed) { o.Pacemaker.Others = []string{"ip1", "fs1"} },
			"the stop of Pacemaker alone: ip1, fs1", "", false},

		"other names": {func(o *Observed) { o.Quorum.Nodes[0] = "gamma" },
			"the lease device names alpha, beta, and Corosync gamma, alpha", "Corosync's names", true},
		"no two_node": {func(o *Observed) { o.Quorum.TwoNode = false }, "two_node is not set", "write two_node: 1", true},
		"no wait_for_all": {func(o *Observed) { o.Quorum.WaitForAll = false }, "wait_for_all is off", "write wait_for_all: 1",
			true},
		"three nodes with two_node": {func(o *Observed) {
			o.Header.Nodes = []string{"alpha", "beta", "gamma"}
			o.Quorum.Nodes = o.Header.Nodes
		}, "two_node is set with 3 nodes", "write two_node: 0", true},

		"no plugin": {func(o *Observed) { o.Pacemaker, o.Quorum, o.Heartbeat = nil, nil, &Heartbeat{} },
			"no stonith_host of external/vmferry", "stonith_host * external/vmferry", true},
		"Heartbeat": {func(o *Observed) { o.Pacemaker, o.Quorum, o.Heartbeat = nil, nil, &Heartbeat{Plugin: true} }, "", "", false},
		"Heartbeat's address": {func(o *Observed) {
			o.Pacemaker, o.Quorum, o.Heartbeat = nil, nil, &Heartbeat{Plugin: true, Others: []string{"IPaddr::192.0.2.9"}}
		}, "the stop of Heartbeat alone: IPaddr::192.0.2.9", "", false},
	} {
		o := well()
		test.change(&o)
		got := Check(o)
		if test.want == "" {
			if len(got) > 0 {
				t.Errorf("%s: %+v", name, got)
			}
			continue
		}
		if len(got) != 1 || !strings.Contains(got[0].What, test.want) || got[0].Problem != test.problem ||
			!strings.Contains(got[0].Type, test.remedy) || got[0].About == "" {
			t.Errorf("%s: %+v, want %q, %q, problem %v", name, got, test.want, test.remedy, test.problem)
		}
	}
}

// A cluster of one node has its own finding beside the names.
func TestCheckOneNode(t *testing.T) {
	o := well()
	o.Quorum = &ring.Quorum{Nodes: []string{"alpha"}}
	if got := Check(o); len(got) != 2 || !strings.Contains(got[1].What, "one node only") {
		t.Errorf("%+v", got)
	}
}

// Without a configuration there are no findings that follow from it.
func TestCheckUnusable(t *testing.T) {
	o := Observed{ManagerName: "pacemaker", Pacemaker: well().Pacemaker,
		Unusable: []Finding{{About: "guard.toml", Problem: true, What: "it is missing"}}}
	if got := Check(o); !reflect.DeepEqual(got, o.Unusable) {
		t.Errorf("%+v", got)
	}
}

func TestFromCIB(t *testing.T) {
	const doc = `<configuration><crm_config><cluster_property_set id="o"><nvpair id="o1" name="stonith-timeout" value="40s"/>
<nvpair id="o2" name="stonith-enabled" value="false"/></cluster_property_set></crm_config><resources>
<primitive id="guard" class="stonith" type="fence_vmferry"><meta_attributes id="g"><nvpair id="g1" name="provides" value="unfencing"/></meta_attributes></primitive>
<primitive id="slow" class="stonith" type="fence_vmferry"><instance_attributes id="s"><nvpair id="s1" name="pcmk_reboot_timeout" value="2min"/><nvpair id="s2" name="pcmk_off_timeout" value="3min"/></instance_attributes></primitive>
<primitive id="power" class="stonith" type="fence_ipmilan"/>
<primitive id="web" class="ocf" provider="vmferry" type="Domain"/>
<primitive id="mail" class="ocf" provider="vmferry" type="Domain"><meta_attributes id="m"><nvpair id="m1" name="requires" value="quorum"/></meta_attributes></primitive>
<primitive id="db" class="ocf" provider="heartbeat" type="VirtualDomain"/>
<primitive id="ip1" class="ocf" provider="heartbeat" type="IPaddr2"/></resources><fencing-topology>
<fencing-level id="l1" target="node1" index="1" devices="power"/><fencing-level id="l2" target="node1" index="2" devices="x, guard"/>
<fencing-level id="l3" target="node2" index="1" devices="power"/>
<fencing-level id="l4" target-pattern="node[3-9]" index="1" devices="slow"/>
<fencing-level id="l5" target-attribute="rack" target-value="1" index="1" devices="power"/></fencing-topology></configuration>`
	agents := []string{"ocf:vmferry:Domain", "ocf:heartbeat:VirtualDomain"}
	read := func(text string) *Pacemaker {
		conf, err := cib.ParseConfig(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		return FromCIB(conf, agents)
	}
	want := &Pacemaker{Off: true, Guests: []string{"db"}, Hasty: []string{"mail"}, Others: []string{"ip1"},
		Without: []string{"attribute rack=1", "node2"},
		Devices: []FenceDevice{{ID: "guard", Unfencing: true, Timeout: 40 * time.Second},
			{ID: "slow", Timeout: 2 * time.Minute, By: "pcmk_reboot_timeout"}}}
	if got := read(doc); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	renamed := strings.NewReplacer("stonith-timeout", "fencing-timeout", "stonith-enabled", "fencing-enabled").Replace(doc)
	if got := read(renamed); !reflect.DeepEqual(got, want) {
		t.Errorf("with the new names: %+v, want %+v", got, want)
	}
	off := strings.Replace(doc, `"stonith-enabled" value="false"`, `"stonith-action" value="off"`, 1)
	if got := read(off); got.Off || got.Devices[1].By != "pcmk_off_timeout" || got.Devices[1].Timeout != 3*time.Minute {
		t.Errorf("with off: %+v", got)
	}
	none := strings.Replace(doc, `name="stonith-timeout" value="40s"`, `name="x" value="y"`, 1)
	if got := read(none); got.Devices[0].Timeout != time.Minute {
		t.Errorf("without stonith-timeout: %+v", got)
	}
}

func TestFromHaCf(t *testing.T) {
	for haCf, want := range map[string]bool{
		"node n1\nstonith_host * external/vmferry\n": true, "stonith_host n1 external/vmferry a b\n": true,
		"#stonith_host * external/vmferry\n": false, "stonith_host * external/ipmi\n": false, "": false,
	} {
		if got := fromHaCf(haCf, "n1 IPaddr::192.0.2.9 vmferry::web\n"); got.Plugin != want || len(got.Others) != 1 {
			t.Errorf("%q: %+v", haCf, got)
		}
	}
}

func TestManagerOf(t *testing.T) {
	o := Observed{ManagerName: "heartbeat", Manager: timing.Heartbeat(5*time.Second, 0)}
	for name, test := range map[string]struct {
		o               Observed
		token, deadtime time.Duration
		detect          time.Duration
		manager         string
	}{
		"as it runs":      {o, 0, 0, 6 * time.Second, "heartbeat"},
		"a token":         {o, time.Second, 0, 3600 * time.Millisecond, "pacemaker"},
		"a deadtime":      {Observed{}, 0, 2 * time.Second, 3 * time.Second, "heartbeat"},
		"nobody is known": {Observed{}, 0, 0, 8 * time.Second, "pacemaker"},
	} {
		if m, got := ManagerOf(test.o, test.token, test.deadtime); m.Detect != test.detect || got != test.manager {
			t.Errorf("%s: %s, %s", name, m.Detect, got)
		}
	}
}
