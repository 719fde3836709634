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
	for _, name := range []string{"etc/hostname", "etc/machine-id", "etc/systemd/network/20-br0.network", "etc/libvirt/libvirtd.conf"} {
		if read(dirs["node1"], name) == read(dirs["node2"], name) {
			t.Errorf("%s is the same on both nodes", name)
		}
	}
	for _, name := range []string{"etc/hosts", "etc/corosync/corosync.conf", "etc/ha.d/ha.cf", "var/lib/pacemaker/cib/cib.xml"} {
		text := read(dirs["node1"], name)
		if text != read(dirs["node2"], name) {
			t.Errorf("%s differs between the nodes", name)
		}
		if !strings.Contains(text, "node1") || !strings.Contains(text, "node2") {
			t.Errorf("%s does not name both nodes", name)
		}
	}
	if got := read(dirs["node2"], "etc/systemd/network/20-br0.network"); !strings.Contains(got, "Address=10.77.0.2/24\n") {
		t.Errorf("node2's address: %s", got)
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
