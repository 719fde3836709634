package mirrored

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmferry/vmferry/lab/node"
)

var nodes = []node.Spec{
	{Name: "node1", ID: 1, Address: netip.MustParseAddr("10.77.0.1")},
	{Name: "node2", ID: 2, Address: netip.MustParseAddr("10.77.0.2")},
}

// Both nodes have the same key, root alone may read it, and what they let in is its other half.
func TestOutfit(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the files' owners can be set by root alone")
	}
	image := t.TempDir()
	for name, text := range map[string]string{
		"passwd": "root:x:0:0::/:\nhacluster:x:0:0::/:\n", "group": "root:x:0:\nhaclient:x:0:\n",
	} {
		if err := os.MkdirAll(filepath.Join(image, "etc"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(image, "etc", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	outfit, err := Outfit()
	if err != nil {
		t.Fatal(err)
	}
	read := map[string]func(string) string{}
	for _, n := range nodes {
		d := node.Dirs{Image: image, State: t.TempDir()}
		if err := node.PrepareAs(outfit, n, nodes, 24, d); err != nil {
			t.Fatal(err)
		}
		upper := filepath.Join(d.State, "upper")
		read[n.Name] = func(name string) string {
			text, err := os.ReadFile(filepath.Join(upper, name))
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		}
		info, err := os.Stat(filepath.Join(upper, "root/.ssh/id_ed25519"))
		if err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", n.Name, info, err)
		}
		for _, unit := range []string{"ssh.service", "vmferry-mirror.service"} {
			if to, err := os.Readlink(filepath.Join(upper, wants, unit)); err != nil || !strings.HasSuffix(to, "/"+unit) {
				t.Errorf("%s: %s is a link to %q, %v", n.Name, unit, to, err)
			}
		}
	}
	if got := read["node1"]("etc/tmpfiles.d/lab-mirror.conf"); got != "d /srv/guests 0755 root root -\n" {
		t.Errorf("%q", got)
	}
	private, lets := read["node1"]("root/.ssh/id_ed25519"), read["node2"]("root/.ssh/authorized_keys")
	if private != read["node2"]("root/.ssh/id_ed25519") {
		t.Error("the nodes have two keys")
	}
	checkPair(t, private, lets)
}

// checkPair wants a line of authorized_keys(5) to be of the private key.
func checkPair(t *testing.T, private, line string) {
	t.Helper()
	block, rest := pem.Decode([]byte(private))
	if block == nil || len(rest) > 0 {
		t.Fatalf("%q", private)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, ok := parsed.(ed25519.PrivateKey)
	words := strings.Fields(line)
	if err != nil || !ok || len(words) != 4 || words[0] != "restrict" || words[1] != keyType ||
		strings.Count(line, "\n") != 1 {
		t.Fatalf("%T, %v, %q", parsed, err, line)
	}
	blob, err := base64.StdEncoding.DecodeString(words[2])
	if want := key.Public().(ed25519.PublicKey); err != nil || !bytes.HasSuffix(blob, want) {
		t.Errorf("%v: %q does not end with %q", err, blob, want)
	}
}
