package cib

import (
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

const written = `<cib><configuration>
 <crm_config><cluster_property_set id="b"><nvpair name="stonith-enabled" value="false"/></cluster_property_set></crm_config>
 <resources>
  <template id="tmpl" class="ocf" provider="vmferry" type="Domain">
   <instance_attributes id="tp"><nvpair name="hypervisor" value="qemu:///system"/><nvpair name="config" value="/t.xml"/></instance_attributes>
   <meta_attributes id="tm"><nvpair name="allow-migrate" value="true"/></meta_attributes>
   <operations><op name="migrate_to" interval="0s" timeout="120s"/><op name="monitor" interval="10s" timeout="9s"/></operations>
  </template>
  <primitive id="web" template="tmpl">
   <instance_attributes id="wp"><nvpair name="config" value="/web.xml"/></instance_attributes>
   <operations><op name="monitor" interval="10s" timeout="30s"/></operations>
  </primitive>
  <primitive id="fence" class="stonith" type="fence_x"/>
  <group id="g">
   <meta_attributes id="gm"><nvpair name="allow-migrate" value="yes"/></meta_attributes>
   <primitive id="db" class="ocf" provider="heartbeat" type="VirtualDomain">
    <meta_attributes id="dm" score="1"><nvpair name="target-role" value="Started"/></meta_attributes>
    <meta_attributes id="dm2" score="INFINITY"><nvpair name="target-role" value="Stopped"/></meta_attributes>
    <meta_attributes id="dm3"><rule id="r"/><nvpair name="is-managed" value="false"/></meta_attributes>
   </primitive>
  </group>
  <clone id="c"><primitive id="ref" class="ocf" provider="vmferry" type="Domain"><meta_attributes id-ref="tm"/></primitive></clone>
 </resources>
 <constraints><rsc_location id="cli-prefer-web" rsc="web" node="n2"/></constraints>
 <rsc_defaults><meta_attributes id="rd"><nvpair name="resource-stickiness" value="9"/></meta_attributes></rsc_defaults>
</configuration></cib>`

func TestParseConfig(t *testing.T) {
	c, err := ParseConfig(strings.NewReader(written))
	if err != nil {
		t.Fatal(err)
	}
	type facts struct {
		Agent                          string
		Params, Meta, Timeouts, Origin map[string]string
		Within, Ruled                  []string
	}
	none := map[string]string{}
	want := map[string]facts{
		"web": {"ocf:vmferry:Domain", map[string]string{"hypervisor": "qemu:///system", "config": "/web.xml"},
			map[string]string{"allow-migrate": "true", "resource-stickiness": "9"},
			map[string]string{"monitor": "30s", "migrate_to": "120s"},
			map[string]string{"allow-migrate": "tmpl", "resource-stickiness": ""}, nil, nil},
		"fence": {"stonith:fence_x", none, map[string]string{"resource-stickiness": "9"}, none,
			map[string]string{"resource-stickiness": ""}, nil, nil},
		"db": {"ocf:heartbeat:VirtualDomain", none,
			map[string]string{"allow-migrate": "yes", "target-role": "Stopped", "resource-stickiness": "9"}, none,
			map[string]string{"allow-migrate": "g", "target-role": "db", "is-managed": "db",
				"resource-stickiness": ""}, []string{"g"}, []string{"is-managed"}},
		"ref": {"ocf:vmferry:Domain", none, map[string]string{"allow-migrate": "true", "resource-stickiness": "9"},
			none,
			map[string]string{"allow-migrate": "ref", "resource-stickiness": ""}, []string{"c"}, nil},
	}
	for _, r := range c.Resources {
		got := facts{r.Agent, r.Params, r.Meta, r.Timeouts, r.Origin, r.Within, r.Ruled}
		if !reflect.DeepEqual(got, want[r.ID]) {
			t.Errorf("%s:\n got %+v\nwant %+v", r.ID, got, want[r.ID])
		}
		delete(want, r.ID)
	}
	if len(want) > 0 {
		t.Errorf("not found: %v", want)
	}
	if !maps.Equal(c.Options, map[string]string{"stonith-enabled": "false"}) ||
		!reflect.DeepEqual(c.Constraints, []Constraint{{ID: "cli-prefer-web", Resources: []string{"web"},
			Node: "n2"}}) {
		t.Errorf("options %v, constraints %v", c.Options, c.Constraints)
	}
}

// What Pacemaker 3.0 itself wrote, after "crm_resource --move" and "--ban", with and
// without a lifetime.
func TestRealDocuments(t *testing.T) {
	c, err := ParseConfig(strings.NewReader(read(t, "testdata/configuration.xml")))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)
	var holds []string
	for _, l := range c.Constraints {
		if l.Holds(now) {
			holds = append(holds, l.ID)
		}
	}
	if want := "cli-prefer-web cli-ban-web-on-n1 cli-prefer-r-db"; strings.Join(holds, " ") != want ||
		len(c.Constraints) != 4 {
		t.Errorf("%v hold, want %s", holds, want)
	}
	if until := c.Constraints[0].Until; !until.Equal(time.Date(2026, 11, 21, 9, 5, 47, 0, time.UTC)) {
		t.Errorf("the move holds until %v", until)
	}
	if len(c.Resources) != 3 || c.Resources[1].Params["migration_speed"] != "5" ||
		c.Options["stonith-enabled"] != "true" {
		t.Errorf("%+v", c)
	}
	s, err := ParseStatus(strings.NewReader(read(t, "testdata/crm_mon.xml")))
	if err != nil || !s.Online["n1"] || !s.Online["n2"] || s.Standby["n2"] || len(s.Places) != 3 ||
		!s.Places["web"].Managed || len(s.Places["web"].Nodes) != 0 {
		t.Errorf("%+v, %v", s, err)
	}
}

func read(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestParseConfigRefuses(t *testing.T) {
	for _, text := range []string{"", "<cib><configuration>", "<html/>", "no XML"} {
		if _, err := ParseConfig(strings.NewReader(text)); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

const monitor = `<pacemaker-result><nodes>
 <node name="n1" type="member" online="true" standby="true" unclean="false" pending="false"/>
 <node name="n2" type="member" online="true" standby="false" unclean="true" pending="false"/>
 <node name="n3" type="remote" online="true" standby="false" unclean="false" pending="false"/></nodes>
<resources>
 <resource id="web" resource_agent="ocf::vmferry:Domain" failed="false" blocked="false" managed="true" pending="Migrating"><node name="n1"/></resource>
 <group id="g"><resource id="db" failed="true" blocked="true" managed="false"><node name="n1"/><node name="n3"/></resource></group>
 <bundle id="b"><replica id="0"><resource id="in" managed="true"/></replica></bundle>
 <clone id="cl"><resource id="c" managed="true"><node name="n1"/></resource><resource id="c" managed="true"><node name="n3"/></resource></clone>
</resources><status code="0" message="OK"/></pacemaker-result>`

func TestParseStatus(t *testing.T) {
	s, err := ParseStatus(strings.NewReader(monitor))
	if err != nil {
		t.Fatal(err)
	}
	wantOnline, wantStandby := map[string]bool{"n1": true, "n2": false, "n3": true},
		map[string]bool{"n1": true, "n2": false, "n3": false}
	if !maps.Equal(s.Online, wantOnline) || !maps.Equal(s.Standby, wantStandby) {
		t.Errorf("online %v, standby %v", s.Online, s.Standby)
	}
	want := []Place{
		{ID: "web", Agent: "ocf:vmferry:Domain", Nodes: []string{"n1"}, Pending: "Migrating", Managed: true},
		{ID: "db", Nodes: []string{"n1", "n3"}, Failed: true, Blocked: true, Within: []string{"g"}},
		{ID: "in", Managed: true, Within: []string{"b"}},
		{ID: "c", Nodes: []string{"n1"}, Managed: true, Within: []string{"cl"}},
		{ID: "c", Nodes: []string{"n3"}, Managed: true, Within: []string{"cl"}},
	}
	if !reflect.DeepEqual(s.Resources, want) {
		t.Errorf("\n got %+v\nwant %+v", s.Resources, want)
	}
	if got := s.Places["c"].Nodes; !slices.Equal(got, []string{"n1", "n3"}) {
		t.Errorf("the clone is on %v", got)
	}
}

// Guest nodes and bundle nodes are resources, whatever type crm_mon gives them.
func TestHost(t *testing.T) {
	for _, tt := range []struct {
		attrs string
		want  bool
	}{
		{`type="member"`, true},
		{`type="remote"`, true},
		{`type="remote" id_as_resource="a"`, false},
		{`type="remote" container_id="a"`, false},
		{`type="ping"`, false},
		{`type="unknown"`, false},
		{``, false},
	} {
		s, err := ParseStatus(strings.NewReader(`<pacemaker-result><nodes><node name="x" online="true" unclean="false" ` + tt.attrs + `/></nodes><status code="0"/></pacemaker-result>`))
		if err != nil {
			t.Fatal(err)
		}
		if _, listed := s.Online["x"]; listed != tt.want || s.Nodes[0].Host() != tt.want {
			t.Errorf("%s: %+v, want a host: %t", tt.attrs, s, tt.want)
		}
	}
}

func TestFenced(t *testing.T) {
	event := func(status, action, target string) string {
		return `<fence_event status="` + status + `" action="` + action + `" target="` + target +
			`" client="c" origin="o"/>`
	}
	s, err := ParseStatus(strings.NewReader(`<pacemaker-result><nodes/><fence_history status="0">` +
		event("success", "reboot", "n2") + event("success", "off", "n3") +
		event("failed", "reboot", "n4") + event("pending", "off", "n5") + event("success", "on", "n6") +
		`</fence_history><status code="0"/></pacemaker-result>`))
	if want := []string{"n2", "n3"}; err != nil || !slices.Equal(s.Fenced, want) {
		t.Errorf("%v, %v; want %v", s.Fenced, err, want)
	}
}

func TestParseErased(t *testing.T) {
	doc := `<status><node_state uname="fenced"/><node_state uname="empty"><lrm><lrm_resources/></lrm></node_state>` +
		`<node_state uname="left"><lrm><lrm_resources><lrm_resource id="a"/></lrm_resources></lrm></node_state></status>`
	for _, text := range []string{doc, "<cib>" + doc + "</cib>"} {
		got, err := ParseErased(strings.NewReader(text))
		if want := []string{"fenced", "empty"}; err != nil || !slices.Equal(got, want) {
			t.Errorf("%v, %v; want %v", got, err, want)
		}
	}
	for _, text := range []string{"", doc[:40], "<html/>"} {
		if got, err := ParseErased(strings.NewReader(text)); err == nil {
			t.Errorf("%q: %v and no error", text, got)
		}
	}
}

func TestParseStatusRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"cut short":    strings.TrimSuffix(monitor, "</pacemaker-result>"),
		"no result":    `<pacemaker-result><nodes/></pacemaker-result>`,
		"a failure":    `<pacemaker-result><status code="102"/></pacemaker-result>`,
		"another form": `<crm_mon/>`,
	} {
		if _, err := ParseStatus(strings.NewReader(text)); err == nil {
			t.Errorf("%s: was taken", name)
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add(written)
	f.Add(read(f, "testdata/configuration.xml"))
	f.Add(`<configuration><resources><primitive id="a" template="a"/></resources></configuration>`)
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseConfig(strings.NewReader(text))
		if err != nil && len(c.Resources) > 0 {
			t.Error("an error came with resources")
		}
	})
}

func FuzzParseStatus(f *testing.F) {
	f.Add(monitor)
	f.Add(read(f, "testdata/crm_mon.xml"))
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseStatus(strings.NewReader(text))
		if err != nil && s.Places != nil {
			t.Error("an error came with places")
		}
	})
}
