package guarded

import (
	"encoding/xml"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmferry/vmferry/hbplugin/guard/device"
	"github.com/vmferry/vmferry/hbplugin/guard/lease"
	"github.com/vmferry/vmferry/hbplugin/guard/settings"
	"github.com/vmferry/vmferry/lab/node"
)

// image is a tree with the accounts that node files need.
func image(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"passwd": "root:x:0:0::/:\nhacluster:x:0:0::/:\n", "group": "root:x:0:\nhaclient:x:0:\n",
	} {
		if err := os.MkdirAll(filepath.Join(dir, "etc"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "etc", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

var nodes = []node.Spec{
	{Name: "node1", ID: 1, Address: netip.MustParseAddr("10.77.0.1")},
	{Name: "node2", ID: 2, Address: netip.MustParseAddr("10.77.0.2")},
}

// What a node gets is what the product reads.
func TestOutfit(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the files' owners can be set by root alone")
	}
	outfit, err := Outfit()
	if err != nil {
		t.Fatal(err)
	}
	d := node.Dirs{Image: image(t), State: t.TempDir()}
	if err := node.PrepareAs(outfit, nodes[1], nodes, 24, d); err != nil {
		t.Fatal(err)
	}
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(d.State, "upper", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	s, err := settings.Parse(read("etc/vmferry/guard.toml"))
	if err != nil {
		t.Fatal(err)
	}
	h := lease.Header{Cluster: "vmferry-lab", Times: Times, Nodes: []string{"node1", "node2"}}
	if err := s.Check(h, "node2"); err != nil || s.Device != leasePath || len(s.Ping) != len(Gateways) || len(s.Revoke) != 4 {
		t.Errorf("%+v, %v", s, err)
	}
	if hosts := read("etc/hosts"); !strings.Contains(hosts, "\n"+StorageAddress(nodes[1]).String()+" "+StorageHost+"\n") {
		t.Errorf("hosts: %s", hosts)
	}
	cib := read("var/lib/pacemaker/cib/cib.xml")
	if err := xml.Unmarshal([]byte(cib), new(any)); err != nil || !strings.Contains(cib, `name="provides" value="unfencing"`) {
		t.Errorf("%v: %s", err, cib)
	}
}

func TestMakeLease(t *testing.T) {
	dir := t.TempDir()
	if err := MakeLease(dir, nodes); err != nil {
		if strings.Contains(err.Error(), "direct I/O") {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	state, err := device.Look(Lease(dir))
	if err != nil || state.Header == nil || state.Header.ID("node2") != 2 || len(state.Held) != 0 {
		t.Errorf("%+v, %v", state, err)
	}
}
