package pacemaker

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/pacemaker/cib"
)

var bothAgents = []string{"ocf:vmferry:Domain", "ocf:heartbeat:VirtualDomain"}

// text reads a status from testdata.
func text(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// parseView reads a document as Client.View does.
func parseView(doc, node string, agents []string) (hbplugin.View, error) {
	s, err := cib.ParseStatus(strings.NewReader(doc))
	if err != nil {
		return hbplugin.View{}, err
	}
	own, err := ownNode(s, node)
	if err != nil {
		return hbplugin.View{}, err
	}
	return viewOf(s, own, agents), nil
}

func TestParseStatus(t *testing.T) {
	for _, tt := range []struct {
		file, node string
		agents     []string
		want       hbplugin.View
	}{
		{"migrating.xml", "n1", bothAgents, hbplugin.View{Running: true, Standby: true, Guests: []hbplugin.Guest{
			{Name: "web", Moving: true}, {Name: "db"}, {Name: "mail"},
		}}},
		{"migrating.xml", "n2", bothAgents, hbplugin.View{Running: true, Guests: []hbplugin.Guest{
			{Name: "mail"}, {Name: "moved"},
		}}},
		{"migrating.xml", "n1", []string{"ocf:heartbeat:VirtualDomain"}, hbplugin.View{
			Running: true, Standby: true, Guests: []hbplugin.Guest{{Name: "db"}},
		}},
		{"nested.xml", "n1", bothAgents, hbplugin.View{Running: true, Guests: []hbplugin.Guest{
			{Name: "in-group"}, {Name: "in-clone"}, {Name: "in-bundle"},
		}}},
		{"stuck.xml", "n1", bothAgents, hbplugin.View{Running: true, Standby: true, Guests: []hbplugin.Guest{
			{Name: "held", Stuck: "in maintenance"}, {Name: "alone", Stuck: "unmanaged"},
			{Name: "jammed", Stuck: "blocked"},
		}}},
	} {
		t.Run(tt.file+" "+tt.node, func(t *testing.T) {
			got, err := parseView(text(t, tt.file), tt.node, tt.agents)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func TestParseStatusRefuses(t *testing.T) {
	whole := text(t, "migrating.xml")
	for _, tt := range []struct{ name, text, node, want string }{
		{"nothing", "", "n1", "cut short"},
		{"cut in an element", whole[:len(whole)/2], "n1", "EOF"},
		{"cut before the end", strings.TrimSuffix(strings.TrimSpace(whole), "</pacemaker-result>"), "n1", "EOF"},
		{"without a result", `<pacemaker-result><nodes><node name="n1"/></nodes></pacemaker-result>`, "n1",
			"cut short"},
		{"not connected", text(t, "disconnected.xml"), "n1", "code 102"},
		{"another document", `<cib/>`, "n1", "the document is <cib>, not <pacemaker-result>"},
		{"no XML", "Cluster Summary:", "n1", "cut short"},
		{"an unknown node", whole, "n9", `node "n9" is not in the cluster`},
		{"the legacy form", "<crm_mon/>", "n1", "the document is <crm_mon>"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v, err := parseView(tt.text, tt.node, bothAgents)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if !reflect.DeepEqual(v, hbplugin.View{}) {
				t.Errorf("a view comes with the error: %+v", v)
			}
		})
	}
}

// FuzzParseStatus: no document makes the parser fail otherwise than with an
// error, and no guest comes out that the document does not name.
func FuzzParseStatus(f *testing.F) {
	for _, name := range []string{"migrating.xml", "nested.xml", "stuck.xml", "disconnected.xml"} {
		f.Add(text(f, name))
	}
	f.Fuzz(func(t *testing.T, doc string) {
		v, err := parseView(doc, "n1", bothAgents)
		if err != nil && (v.Running || len(v.Guests) > 0) {
			t.Errorf("error %v, and a view: %+v", err, v)
		}
		if len(v.Guests) > strings.Count(doc, "<node") {
			t.Errorf("%d guests out of %q", len(v.Guests), doc)
		}
	})
}
