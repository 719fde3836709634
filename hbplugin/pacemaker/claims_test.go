package pacemaker

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestClaims(t *testing.T) {
	doc := string(read(t, "testdata/claims.xml"))
	p := &programs{answer: map[string]string{"cibadmin": doc}}
	got, err := client(t, p).Claims(t.Context())
	if err != nil || len(got) != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	web, db := got[0], got[1]
	if web.Resource != "web" || web.Environ.Params.File() != "/vm/web.xml" || web.Environ.Instance != "web" ||
		web.Meta["allow-migrate"] != "true" ||
		web.Timeouts["migrate_to"] != "120s" || web.Timeouts["monitor"] != "30s" || len(web.Ruled) > 0 {
		t.Errorf("%+v", web)
	}
	if _, set := db.Meta["allow-migrate"]; set || !slices.Equal(db.Ruled, []string{"allow-migrate"}) ||
		db.Timeouts["start"] != "120s" {
		t.Errorf("%+v", db)
	}
	p.fail = map[string]error{"cibadmin": errors.New("refused")}
	if got, err := client(t, p).Claims(t.Context()); err == nil {
		t.Errorf("%v and no error", got)
	}
}

func TestRunnable(t *testing.T) {
	for _, tt := range []struct{ name, constraints, options, want string }{
		{"anywhere", "", "", "n1 n2 n3 r1"},
		{"banned by name", `<rsc_location id="l" rsc="web" node="n2" score="-INFINITY"/>`, "", "n1 n3 r1"},
		{"banned with its template", `<rsc_location id="l" rsc="vm" node="n2" score="-INFINITY"/>`, "", "n1 n3 r1"},
		{"another resource is banned", `<rsc_location id="l" rsc="r1" node="n2" score="-INFINITY"/>`, "",
			"n1 n2 n3 r1"},
		{"disliked", `<rsc_location id="l" rsc="web" node="n2" score="-100"/>`, "", "n1 n2 n3 r1"},
		{"moved away by hand", `<rsc_location id="cli-ban-web-on-n2" rsc="web" node="n2" score="-INFINITY"/>`, "",
			"n1 n2 n3 r1"},
		{"banned by a rule",
			`<rsc_location id="l" rsc="web"><rule score="-INFINITY"><expression attribute="#uname" operation="eq" value="n2"/></rule></rsc_location>`, "", "n1 n2 n3 r1"},
		{"banned from promotion", `<rsc_location id="l" rsc="web" role="Promoted" node="n2" score="-INFINITY"/>`, "",
			"n1 n2 n3 r1"},
		{"never looked for", `<rsc_location id="l" rsc="web" node="n2" score="10" resource-discovery="never"/>`, "",
			"n1 n2 n3 r1"},
		{"pinned", `<rsc_location id="l" rsc="web" node="n1" score="INFINITY" resource-discovery="exclusive"/>`, "",
			"n1"},
		{"pinned by a rule",
			`<rsc_location id="l" rsc="web" resource-discovery="exclusive"><rule score="1"/></rsc_location>`, "",
			"n1 n2 n3 r1"},
		{"a preference pins nothing", `<rsc_location id="l" rsc="web" node="n1" score="INFINITY"/>`, "", "n1 n2 n3 r1"},
		{"opt in", `<rsc_location id="l" rsc="web" node="n1" score="0"/><rsc_location id="m" rsc="web" node="r1" score="5"/>`, "false", "n1 r1"},
		{"opt in by a rule", `<rsc_location id="l" rsc="web"><rule score="1"/></rsc_location>`, "false", "n1 n2 n3 r1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			doc := string(read(t, "testdata/claims.xml"))
			doc = strings.Replace(doc, "<constraints/>", "<constraints>"+tt.constraints+"</constraints>", 1)
			if tt.options != "" {
				doc = strings.Replace(doc, `name="symmetric-cluster" value="true"`,
					`name="symmetric-cluster" value="`+tt.options+`"`, 1)
			}
			p := &programs{answer: map[string]string{"cibadmin": doc}}
			got, err := client(t, p).Runnable(t.Context(), "web")
			if strings.Join(got, " ") != tt.want || err != nil {
				t.Errorf("%q, %v; want %q", got, err, tt.want)
			}
			if _, err := client(t, p).Runnable(t.Context(), "else"); err == nil {
				t.Error("an unknown resource, and no error")
			}
		})
	}
}

// A resource of any agent claims its guest: who is not waited for is no stranger.
func TestResourcesOfAllAgents(t *testing.T) {
	said, failed := `<configuration><resources><primitive id="a" class="ocf" provider="x" type="Y"/>`+
		`<group id="g"><primitive id="b" class="ocf" provider="vmferry" type="Domain"/></group></resources></configuration>`, error(nil)
	c := &Client{Run: func(_ context.Context, program string, args ...string) (string, error) {
		if line := program + " " + strings.Join(args, " "); line != "cibadmin --query --scope=configuration" {
			t.Errorf("ran %s", line)
		}
		return said, failed
	}}
	if got, err := c.Resources(t.Context()); err != nil || len(got) != 2 || got[0].Resource != "a" ||
		got[1].Resource != "b" {
		t.Errorf("%+v, %v", got, err)
	}
	for _, tt := range []struct {
		said   string
		failed error
	}{{said[:40], nil}, {"", nil}, {"<status/>", nil}, {said, errors.New("cibadmin: not connected")}} {
		said, failed = tt.said, tt.failed
		if got, err := c.Resources(t.Context()); err == nil {
			t.Errorf("%q, %v: %+v", tt.said, tt.failed, got)
		}
	}
}

// Where each resource is now is Pacemaker's word, and so is this node's name.
func TestPlaces(t *testing.T) {
	mon := `<pacemaker-result><nodes><node name="n1" online="true" type="member"/><node name="n2" online="true" type="member"/></nodes>` +
		`<resources><resource id="web" resource_agent="ocf:vmferry:Domain" managed="true"><node name="n2"/></resource></resources>` +
		`<status code="0" message="OK"/></pacemaker-result>`
	c := &Client{Run: func(_ context.Context, program string, _ ...string) (string, error) {
		return map[string]string{"crm_node": "n1\n", "crm_mon": mon}[program], nil
	}}
	p, err := c.Places(t.Context())
	if err != nil || p.Node != "n1" || !slices.Equal(p.On["web"], []string{"n2"}) || len(p.On["db"]) != 0 {
		t.Errorf("%+v, %v", p, err)
	}
	mon = mon[:90]
	if p, err := c.Places(t.Context()); err == nil {
		t.Errorf("a status that was cut short: %+v", p)
	}
}
