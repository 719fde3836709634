package xen

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// prepared is the layer of each node's own files.
func prepared(t *testing.T) (Host, map[string]string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("gives files to Pacemaker's account: needs root")
	}
	tree := t.TempDir()
	for name, text := range map[string]string{
		"etc/passwd": "root:x:0:0::/root:/bin/sh\nhacluster:x:100:101::/:/bin/false\n",
		"etc/group":  "root:x:0:\nhaclient:x:101:\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(tree, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(tree, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	h := Host{Dir: t.TempDir(), Image: tree, Network: netip.MustParsePrefix("10.77.0.254/24"), Nodes: nodes}
	layers := map[string]string{}
	for _, spec := range nodes {
		if err := h.prepare(spec, keyPair{"the private key\n", "the public key\n"}); err != nil {
			t.Fatal(err)
		}
		layers[spec.Name] = filepath.Join(h.state(spec.Name), "upper")
	}
	return h, layers
}

func TestPrepare(t *testing.T) {
	_, layers := prepared(t)
	for _, test := range []struct{ node, file, want string }{
		{"node1", "etc/hostname", "node1\n"},
		{"node2", "etc/systemd/network/20-br0.network", "Address=10.77.0.2/24\n"},
		{"node2", "etc/systemd/network/30-lab0.network", "Address=10.78.0.2/24\n"},
		{"node2", "etc/systemd/network/10-host0.link", "PermanentMACAddress=52:54:00:76:78:02\n"},
		{"node1", "etc/systemd/network/10-lab0.link", "PermanentMACAddress=52:54:00:76:79:01\n"},
		{"node1", "etc/corosync/corosync.conf", "    token: 10000\n"},
		{"node1", "etc/ha.d/ha.cf", "deadtime 20\ninitdead 60\n"},
		{"node1", "var/lib/pacemaker/cib/cib.xml", `name="dc-deadtime" value="8s"`},
		{"node1", "lab/switch", "10.78.0.254:7710\n"},
		{"node1", "root/.ssh/id_ed25519", "the private key\n"},
		{"node2", "root/.ssh/authorized_keys", "the public key\n"},
	} {
		text, err := os.ReadFile(filepath.Join(layers[test.node], test.file))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), test.want) {
			t.Errorf("%s on %s has no %q:\n%s", test.file, test.node, test.want, text)
		}
	}
}

func TestPrepareKeepsTheKeyPrivateAndUdevAtWork(t *testing.T) {
	_, layers := prepared(t)
	info, err := os.Stat(filepath.Join(layers["node1"], "root/.ssh/id_ed25519"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the key has mode %v", info.Mode())
	}
	if _, err := os.Lstat(filepath.Join(layers["node1"],
		"etc/systemd/system/systemd-udev-trigger.service")); !os.IsNotExist(err) {
		t.Errorf("a machine has devices that udev must find: %v", err)
	}
	if to, err := os.Readlink(filepath.Join(layers["node1"], "etc/systemd/system/xendomains.service")); err != nil ||
		to != "/dev/null" {
		t.Errorf("xendomains would start and move guests behind the cluster's back: %q, %v", to, err)
	}
}

func TestMakeKey(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ssh")
	key, err := makeKey(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(key.private, "-----BEGIN OPENSSH PRIVATE KEY-----") ||
		!strings.HasPrefix(key.public, "ssh-ed25519 ") {
		t.Errorf("got %q", key.public)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("others may look at the key: %v, %v", info, err)
	}
}

func TestMakeDisk(t *testing.T) {
	from, disk := t.TempDir(), filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(filepath.Join(from, "file"), []byte("in a file system"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := makeDisk(t.Context(), disk, from, "16M", "^has_journal"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(disk)
	if err != nil || !strings.Contains(string(text), "in a file system") {
		t.Errorf("the file is not on the disk: %v", err)
	}
	if err := makeDisk(t.Context(), disk, filepath.Join(from, "missing"), "16M", "^has_journal"); err == nil {
		t.Error("made a disk from nothing")
	}
}
