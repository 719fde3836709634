package node

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestIsLeader(t *testing.T) {
	for _, test := range []struct {
		status string
		want   bool
	}{
		{"Name:\tsystemd\nNSpid:\t1234\t16\t1\nNSpgid:\t1\n", true},
		{"Name:\tsystemd-nspawn\nNSpid:\t1233\t15\n", false},
		{"Name:\tinit\nNSpid:\t1\n", false}, // process 1, but not of a namespace below ours
		{"Name:\tsystemd\nNSpid:\n", false},
		{"", false},
	} {
		if got := isLeader(test.status); got != test.want {
			t.Errorf("%q: got %v", test.status, got)
		}
	}
}

// image is a tree with the accounts that a node's files need.
func image(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"passwd": "root:x:0:0::/root:/bin/sh\nhacluster:x:100:101::/:/bin/false\n",
		"group":  "root:x:0:\nmalformed\nhaclient:x:101:\n",
	} {
		if err := os.WriteFile(filepath.Join(root, "etc", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestIDs(t *testing.T) {
	ids, err := readIDs(image(t))
	if err != nil {
		t.Fatal(err)
	}
	if uid, gid, err := ids.lookup("hacluster", "haclient"); err != nil || uid != 100 || gid != 101 {
		t.Errorf("got %d, %d, %v", uid, gid, err)
	}
	for _, who := range [][2]string{{"nobody", "haclient"}, {"hacluster", "nogroup"}} {
		if _, _, err := ids.lookup(who[0], who[1]); err == nil {
			t.Errorf("found %v", who)
		}
	}
	if _, err := readIDs(t.TempDir()); err == nil {
		t.Error("an image without accounts is none")
	}
}

func TestPrepare(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("gives files to Pacemaker's account: needs root")
	}
	nodes := []Spec{
		{Name: "node1", ID: 1, Address: netip.MustParseAddr("10.77.0.1")},
		{Name: "node2", ID: 2, Address: netip.MustParseAddr("10.77.0.2")},
	}
	tree := image(t)
	read := func(d Dirs, name string) string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(d.upper(), name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	dirs := map[string]Dirs{}
	for _, n := range nodes {
		dirs[n.Name] = Dirs{Image: tree, State: t.TempDir()}
		if err := Prepare(n, nodes, 24, dirs[n.Name]); err != nil {
			t.Fatal(err)
		}
	}
	// What names a node differs, what makes them a cluster does not.
	for _, name := range []string{"etc/hostname", "etc/machine-id", "etc/systemd/network/20-br0.network",
		"etc/libvirt/libvirtd.conf"} {
		if read(dirs["node1"], name) == read(dirs["node2"], name) {
			t.Errorf("%s is the same on both nodes", name)
		}
	}
	for _, name := range []string{"etc/hosts", "etc/corosync/corosync.conf", "etc/ha.d/ha.cf",
		"var/lib/pacemaker/cib/cib.xml"} {
		text := read(dirs["node1"], name)
		if text != read(dirs["node2"], name) {
			t.Errorf("%s differs between the nodes", name)
		}
		if !strings.Contains(text, "node1") || !strings.Contains(text, "node2") {
			t.Errorf("%s does not name both nodes", name)
		}
	}
	if got := read(dirs["node2"], "etc/systemd/network/20-br0.network"); !strings.Contains(got,
		"Address=10.77.0.2/24\n") {
		t.Errorf("node2's address: %s", got)
	}
	// Two nodes need no third for a quorum, and each has the name under which its memory channel is reached.
	if text := read(dirs["node1"], "etc/corosync/corosync.conf"); !strings.Contains(text, "    two_node: 1\n}") {
		t.Errorf("the quorum of two nodes: %s", text)
	}
	if text := read(dirs["node1"], "etc/libvirt/qemu.conf"); !strings.Contains(text, "\nmigration_host = \"node1\"\n") {
		t.Errorf("the migration host of node1: %s", text)
	}
	for name := range private {
		info, err := os.Stat(filepath.Join(dirs["node1"].upper(), name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
}

// A node with a host name of its own is known by its name all the same, and its libvirt has no other.
func TestPrepareWithAHostName(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("gives files to Pacemaker's account: needs root")
	}
	nodes := []Spec{
		{Name: "node1", ID: 1, Address: netip.MustParseAddr("10.77.0.1"), Host: "kvm-a.example"},
		{Name: "node2", ID: 2, Address: netip.MustParseAddr("10.77.0.2"), Host: "kvm-b.example"},
		{Name: "node3", ID: 3, Address: netip.MustParseAddr("10.77.0.3"), Host: "kvm-c.example"},
	}
	d := Dirs{Image: image(t), State: t.TempDir()}
	if err := Prepare(nodes[0], nodes, 24, d); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		file, words string
		has         bool
	}{
		{"etc/hostname", "kvm-a.example\n", true},
		{"etc/hosts", "10.77.0.2 node2\n", true},
		{"etc/hosts", "example", false},
		{"etc/corosync/corosync.conf", "name: node3\n", true},
		{"etc/corosync/corosync.conf", "two_node", false},
		{"etc/libvirt/qemu.conf", "migration_host", false},
		{"etc/libvirt/qemu.conf", "migration_address = \"0.0.0.0\"\n", true},
	} {
		text, err := os.ReadFile(filepath.Join(d.upper(), c.file))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), c.words) != c.has {
			t.Errorf("%s: %q is there: %v\n%s", c.file, c.words, !c.has, text)
		}
	}
}
