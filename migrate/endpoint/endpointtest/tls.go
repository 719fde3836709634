package endpointtest

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate/pki"
	"github.com/vmferry/vmferry/migrate/pki/pkitest"
)

// Sends are the files of a node that guests leave with TLS, and Receives those of one that they come to.
var (
	Sends    = []string{"ca-cert.pem", "client-cert.pem", "client-key.pem"}
	Receives = []string{"ca-cert.pem", "server-cert.pem", "server-key.pem"}
)

// Encrypt gives both ends the certificates for a migration with TLS. The source is another node's libvirt then, so that
// this node's files are not looked at.
func (p *Pair) Encrypt(t testing.TB) {
	t.Helper()
	p.ShowCertificate(t, "node2", time.Hour)
	p.Source.URI = "fake://node1/source"
	p.Source.Dirs = map[string][]string{"/etc/pki": {"qemu"}, pki.DefaultDir: Sends}
	p.Target.Dirs = map[string][]string{"/etc/pki": {"qemu"}, pki.DefaultDir: Receives}
}

// ShowCertificate gives the target a certificate for a name, which is valid for so long.
func (p *Pair) ShowCertificate(t testing.TB, name string, valid time.Duration) {
	t.Helper()
	dir, now := t.TempDir(), time.Now()
	pkitest.New(t, now).Write(t, dir, name, now, now.Add(valid))
	raw, err := os.ReadFile(filepath.Join(dir, pki.ServerCert))
	if err != nil {
		t.Fatal(err)
	}
	p.Target.Texts = map[string][]byte{filepath.Join(pki.DefaultDir, pki.ServerCert): raw}
}
