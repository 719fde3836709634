package pacemaker

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/vmferry/vmferry/hbplugin/pacemaker/cib"
	"github.com/vmferry/vmferry/resource/elsewhere"
)

func nodesXML(nodes ...string) string {
	return `<pacemaker-result><nodes><node name="n1" online="true" unclean="false" pending="false" type="member"/>` +
		strings.Join(nodes, "") + `</nodes><status code="0" message="OK"/></pacemaker-result>`
}

func TestPeers(t *testing.T) {
	for _, tt := range []struct {
		name, node string
		want       elsewhere.PeerState
	}{
		{"member", `<node name="n2" online="true" unclean="false" pending="false" type="member"/>`, elsewhere.PeerUp},
		{"shut down or fenced", `<node name="n2" online="false" unclean="false" pending="false" type="member"/>`,
			elsewhere.PeerDown},
		{"lost and not fenced yet", `<node name="n2" online="false" unclean="true" pending="false" type="member"/>`,
			elsewhere.PeerUnknown},
		{"on-line, to be fenced", `<node name="n2" online="true" unclean="true" pending="false" type="member"/>`,
			elsewhere.PeerUnknown},
		{"joining", `<node name="n2" online="true" unclean="false" pending="true" type="member"/>`,
			elsewhere.PeerUnknown},
		{"remote", `<node name="n2" online="true" unclean="false" type="remote"/>`, elsewhere.PeerUp},
		{"words of the future", `<node name="n2" online="maybe" unclean="false" type="member"/>`, elsewhere.PeerUnknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := &programs{answer: map[string]string{"crm_node": "n1\n", "crm_mon": nodesXML(tt.node)}}
			got, err := client(t, p).Peers(t.Context())
			if want := []elsewhere.Peer{{Name: "n2", State: tt.want}}; err != nil || !slices.Equal(got, want) {
				t.Errorf("%v, %v; want %v", got, err, want)
			}
		})
	}
}

// Members need not have joined: a node that waits for its lease has not.
func TestMembers(t *testing.T) {
	p := &programs{answer: map[string]string{"crm_node": "n1 n2 \n"}}
	c := client(t, p)
	c.Node = "n1"
	if got, err := c.Members(t.Context()); err != nil || !slices.Equal(got, []string{"n1", "n2"}) {
		t.Errorf("%v, %v", got, err)
	}
}

// A guest with a node inside is a resource: what Pacemaker 3.0 itself wrote.
func TestGuestNodesAreNoPeers(t *testing.T) {
	s, err := cib.ParseStatus(strings.NewReader(text(t, "guest-node.xml")))
	got := peers(s, "n1")
	if want := []elsewhere.Peer{{Name: "n2", State: elsewhere.PeerUp}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
}

// A node was fenced when the fencer says so and the CIB has no history of it: the history comes back with the node.
func TestFencedPeers(t *testing.T) {
	const fence = `</nodes><fence_history status="0"><fence_event status="success" action="reboot" target="n2"/></fence_history>`
	off := `<node name="n2" online="false" unclean="false" pending="false" type="member"/>`
	up := `<node name="n2" online="true" unclean="false" pending="false" type="member"/>`
	lost := `<node name="n2" online="false" unclean="true" pending="false" type="member"/>`
	const erased = `<status><node_state uname="n2"/></status>`
	const kept = `<status><node_state uname="n2"><lrm><lrm_resources><lrm_resource id="a"/></lrm_resources></lrm></node_state></status>`
	for _, tt := range []struct {
		name, node, history, status string
		fail                        error
		want                        elsewhere.PeerState
		asks                        bool
	}{
		{"fenced", off, fence, erased, nil, elsewhere.PeerFenced, true},
		{"fenced, came back and left in order", off, fence, kept, nil, elsewhere.PeerDown, true},
		{"left in order", off, "</nodes>", erased, nil, elsewhere.PeerDown, false},
		{"fenced and back", up, fence, erased, nil, elsewhere.PeerUp, false},
		{"to be fenced again", lost, fence, erased, nil, elsewhere.PeerUnknown, false},
		{"the CIB gives no answer", off, fence, "", errors.New("refused"), elsewhere.PeerDown, true},
		{"the CIB was cut short", off, fence, "<status>", nil, elsewhere.PeerDown, true},
		{"the CIB does not know it", off, fence, "<status/>", nil, elsewhere.PeerDown, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := &programs{
				answer: map[string]string{"crm_node": "n1",
					"crm_mon": strings.Replace(nodesXML(tt.node), "</nodes>", tt.history, 1), "cibadmin": tt.status},
				fail: map[string]error{"cibadmin": tt.fail},
			}
			got, err := client(t, p).Peers(t.Context())
			if want := []elsewhere.Peer{{Name: "n2", State: tt.want}}; err != nil || !slices.Equal(got, want) {
				t.Errorf("%v, %v; want %v", got, err, want)
			}
			if asked := strings.HasPrefix(p.ran[len(p.ran)-1], "cibadmin"); asked != tt.asks {
				t.Errorf("ran %q", p.ran)
			}
		})
	}
}

func TestPeersCannotBeTold(t *testing.T) {
	for name, p := range map[string]*programs{
		"crm_mon fails": {answer: map[string]string{"crm_node": "n1"},
			fail: map[string]error{"crm_mon": errors.New("not connected")}},
		"cut short":              {answer: map[string]string{"crm_node": "n1", "crm_mon": "<pacemaker-result><nodes>"}},
		"we are not in the list": {answer: map[string]string{"crm_node": "n9", "crm_mon": nodesXML()}},
	} {
		if got, err := client(t, p).Peers(t.Context()); err == nil {
			t.Errorf("%s: %v and no error", name, got)
		}
	}
	c := &Client{Proc: proc(t)}
	if got, err := c.Peers(t.Context()); err == nil {
		t.Errorf("no pacemaker: %v and no error", got)
	}
}
