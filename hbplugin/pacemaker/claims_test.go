package pacemaker

import (
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
	if web.Resource != "web" || web.Environ.Params.File() != "/vm/web.xml" || web.Environ.Instance != "web" || web.Meta["allow-migrate"] != "true" ||
		web.Timeouts["migrate_to"] != "120s" || web.Timeouts["monitor"] != "30s" || len(web.Ruled) > 0 {
		t.Errorf("%+v", web)
	}
	if _, set := db.Meta["allow-migrate"]; set || !slices.Equal(db.Ruled, []string{"allow-migrate"}) || db.Timeouts["start"] != "120s" {
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
		{"another resource is banned", `<rsc_location id="l" rsc="r1" node="n2" score="-INFINITY"/>`, "", "n1 n2 n3 r1"},
		{"disliked", `<rsc_location id="l" rsc="web" node="n2" score="-100"/>`, "", "n1 n2 n3 r1"},
		{"moved away by hand", `<rsc_location id="cli-ban-web-on-n2" rsc="web" node="n2" score="-INFINITY"/>`, "", "n1 n2 n3 r1"},
		{"banned by a rule", `<rsc_location id="l" rsc="web"><rule score="-INFINITY"><expression attribute="#uname" operation="eq" value="n2"/></rule></rsc_location>`, "", "n1 n2 n3 r1"},
		{"banned from promotion", `<rsc_location id="l" rsc="web" role="Promoted" node="n2" score="-INFINITY"/>`, "", "n1 n2 n3 r1"},
		{"never looked for", `<rsc_location id="l" rsc="web" node="n2" score="10" resource-discovery="never"/>`, "", "n1 n2 n3 r1"},
		{"pinned", `<rsc_location id="l" rsc="web" node="n1" score="INFINITY" resource-discovery="exclusive"/>`, "", "n1"},
		{"pinned by a rule", `<rsc_location id="l" rsc="web" resource-discovery="exclusive"><rule score="1"/></rsc_location>`, "", "n1 n2 n3 r1"},
		{"a preference pins nothing", `<rsc_location id="l" rsc="web" node="n1" score="INFINITY"/>`, "", "n1 n2 n3 r1"},
		{"opt in", `<rsc_location id="l" rsc="web" node="n1" score="0"/><rsc_location id="m" rsc="web" node="r1" score="5"/>`, "false", "n1 r1"},
		{"opt in by a rule", `<rsc_location id="l" rsc="web"><rule score="1"/></rsc_location>`, "false", "n1 n2 n3 r1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			doc := string(read(t, "testdata/claims.xml"))
			doc = strings.Replace(doc, "<constraints/>", "<constraints>"+tt.constraints+"</constraints>", 1)
			if tt.options != "" {
				doc = strings.Replace(doc, `name="symmetric-cluster" value="true"`, `name="symmetric-cluster" value="`+tt.options+`"`, 1)
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
