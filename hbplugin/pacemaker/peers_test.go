package pacemaker

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/vmferry/vmferry/resource"
)

func nodesXML(nodes ...string) string {
	return `<pacemaker-result><nodes><node name="n1" online="true" unclean="false" pending="false" type="member"/>` +
		strings.Join(nodes, "") + `</nodes><status code="0" message="OK"/></pacemaker-result>`
}

func TestPeers(t *testing.T) {
	for _, tt := range []struct {
		name, node string
		want       resource.PeerState
	}{
		{"member", `<node name="n2" online="true" unclean="false" pending="false" type="member"/>`, resource.PeerUp},
		{"shut down or fenced", `<node name="n2" online="false" unclean="false" pending="false" type="member"/>`, resource.PeerDown},
		{"lost and not fenced yet", `<node name="n2" online="false" unclean="true" pending="false" type="member"/>`, resource.PeerUnknown},
		{"on-line, to be fenced", `<node name="n2" online="true" unclean="true" pending="false" type="member"/>`, resource.PeerUnknown},
		{"joining", `<node name="n2" online="true" unclean="false" pending="true" type="member"/>`, resource.PeerUnknown},
		{"remote", `<node name="n2" online="true" unclean="false" type="remote"/>`, resource.PeerUp},
		{"words of the future", `<node name="n2" online="maybe" unclean="false" type="member"/>`, resource.PeerUnknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := &programs{answer: map[string]string{"crm_node": "n1\n", "crm_mon": nodesXML(tt.node)}}
			got, err := client(t, p).Peers(t.Context())
			if want := []resource.Peer{{Name: "n2", State: tt.want}}; err != nil || !slices.Equal(got, want) {
				t.Errorf("%v, %v; want %v", got, err, want)
			}
		})
	}
}

func TestPeersInBundlesAreLeftOut(t *testing.T) {
	got, err := ParsePeers(strings.NewReader(nodesXML(`<node name="b-0" online="true" unclean="false" type="guest"/>`)), "n1")
	if err != nil || len(got) != 0 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestPeersCannotBeTold(t *testing.T) {
	for name, p := range map[string]*programs{
		"crm_mon fails":          {answer: map[string]string{"crm_node": "n1"}, fail: map[string]error{"crm_mon": errors.New("not connected")}},
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
