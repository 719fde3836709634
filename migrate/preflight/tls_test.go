package preflight

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/migrate/endpoint/endpointtest"
	"github.com/vmferry/vmferry/migrate/pki"
	"github.com/vmferry/vmferry/migrate/pki/pkitest"
)

// What libvirt 11.3 and QEMU 10.0 say.
func TestTLSHint(t *testing.T) {
	for _, c := range []struct {
		says  string
		asked bool
		hint  string
	}{
		{"Requested operation is not valid: this libvirtd instance allows migration only with VIR_MIGRATE_TLS flag", false,
			"vmferry migrate --tls 'Night Watch 1' NODE"},
		{"operation failed: migration failed. Message from the source host: operation failed: job 'migration out' failed: " +
			"Certificate does not match the hostname 10.99.0.1", true, "--tls-destination"},
		{"internal error: unable to execute QEMU command 'object-add': Unable to access credentials " +
			"/etc/pki/qemu/ca-cert.pem: No such file or directory", true, "vmferry check"},
		{"internal error: unable to execute QEMU command 'object-add': Cannot load certificate '/etc/pki/qemu/server-cert.pem' " +
			"& key '/etc/pki/qemu/server-key.pem': Error while reading file.", true, "QEMU's user"},
		{"operation failed: job 'migration out' failed: Cannot read from TLS channel: The TLS connection was non-properly " +
			"terminated.", true, "one authority"},
		{"connection refused", true, ""},
		{"Certificate does not match the hostname 10.99.0.1", false, ""}, // that of libvirt's own connection
	} {
		if hint := tlsHint(says(c.says), "Night Watch 1", c.asked); (hint == "") != (c.hint == "") ||
			!strings.Contains(hint, c.hint) {
			t.Errorf("%q: %q, want %q", c.says, hint, c.hint)
		}
	}
}

// encrypted is a pair that moves with TLS, and has the certificates for it. The source is another node's libvirt, so
// that this node's files are not looked at.
func encrypted(t *testing.T) *pair {
	p := newPair(t)
	p.Encrypt(t)
	p.req.SourceURI, p.req.Options.TLS = p.Source.URI, true
	p.deps.Conf = filepath.Join(t.TempDir(), "qemu.conf")
	return p
}

func TestCertificatesAreLookedForBeforeTheMove(t *testing.T) {
	conf := func(text string) func(*testing.T, *pair) {
		return func(t *testing.T, p *pair) {
			if err := os.WriteFile(p.deps.Conf, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name    string
		spoil   func(*testing.T, *pair)
		refused string // what the refusal says; "" for none
		note    string
	}{
		{"all is there", nil, "", ""},
		{"not requested", func(_ *testing.T, p *pair) {
			p.req.Options.TLS, p.Source.Dirs, p.Target.Dirs = false, nil,
				nil
		}, "", ""},
		{"target has none", func(_ *testing.T, p *pair) { p.Target.Dirs[pki.DefaultDir] = nil },
			`the target has no ca-cert.pem, server-cert.pem, server-key.pem in "/etc/pki/qemu"`, ""},
		{"target lacks the key", func(_ *testing.T, p *pair) { p.Target.Dirs[pki.DefaultDir] = endpointtest.Receives[:2] },
			"the target has no server-key.pem", ""},
		{"source has those of a target alone",
			func(_ *testing.T, p *pair) { p.Source.Dirs[pki.DefaultDir] = endpointtest.Receives },
			"the source has no client-cert.pem, client-key.pem", ""},
		{"senders are not verified", func(t *testing.T, p *pair) {
			conf("migrate_tls_x509_verify = 0")(t, p)
			p.Source.Dirs[pki.DefaultDir] = endpointtest.Sends[:1]
		}, "", ""},
		{"another directory", func(t *testing.T, p *pair) {
			conf("default_tls_x509_cert_dir = \"/srv/pki\"")(t, p)
			p.Source.Dirs["/srv/pki"] = endpointtest.Sends
		}, `the target has no ca-cert.pem, server-cert.pem, server-key.pem in "/srv/pki"`, ""},
		{"libvirt's own directory for migrations goes first", func(_ *testing.T, p *pair) {
			p.Target.Dirs["/etc/pki"] = []string{"qemu", "libvirt-migrate"}
		}, `in "/etc/pki/libvirt-migrate"`, ""},
		{"the target cannot be looked into", func(_ *testing.T, p *pair) { p.Target.Dirs = nil }, "",
			`whether the target has the certificates for TLS in "/etc/pki/qemu" was not checked`},
		{"expired at the target", func(t *testing.T, p *pair) { p.ShowCertificate(t, "node2", -time.Minute) },
			"the target's server-cert.pem expired on", ""},
		{"for another name than the URI's", func(_ *testing.T, p *pair) { p.req.MigrateURI = "tcp://192.0.2.2" },
			`the target's server-cert.pem is for ["node2"], and not for "192.0.2.2"`, ""},
		{"for the URI's name", func(t *testing.T, p *pair) { p.req.MigrateURI = "tcp://node2:49152" }, "", ""},
		{"for the name that was given", func(_ *testing.T, p *pair) {
			p.req.MigrateURI, p.req.Options.TLSDestination = "tcp://192.0.2.2", "node2"
		}, "", ""},
		{"for another name than was given", func(_ *testing.T, p *pair) { p.req.Options.TLSDestination = "kvm-b" },
			`not for "kvm-b"`, ""},
		{"for another name than the target's own", func(t *testing.T, p *pair) { p.ShowCertificate(t, "kvm-b", time.Hour) },
			"", `may fail: the target's server-cert.pem is for ["kvm-b"], and not for "node2"`}, // or migration_host says it
		{"rubbish at the target", func(_ *testing.T, p *pair) {
			p.Target.Texts[filepath.Join(pki.DefaultDir, pki.ServerCert)] = []byte("rubbish")
		}, "", "no certificate that can be read"},
		{"the target's cannot be read", func(_ *testing.T, p *pair) { p.Target.Texts = nil }, "", "was not read"},
		{"qemu.conf is no file", func(_ *testing.T, p *pair) { p.deps.Conf = filepath.Dir(p.deps.Conf) }, "",
			"assumed to be in the default directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := encrypted(t)
				if c.spoil != nil {
					c.spoil(t, p)
				}
				x, err := p.run(t)
				if err != nil {
					t.Fatal(err)
				}
				var refused string
				for _, r := range x.Refusals {
					if r.Check == CheckTLS {
						refused += r.Error()
					}
				}
				if (refused == "") != (c.refused == "") || !strings.Contains(refused, c.refused) {
					t.Errorf("refused: %q, want %q", refused, c.refused)
				}
				if notes := strings.Join(x.Notes, "; "); !strings.Contains(notes, c.note) {
					t.Errorf("notes %q, want %q", notes, c.note)
				}
			})
		})
	}
}

// What is in this node's own files is read; and the target's certificate is for the name by which the guest goes there,
// where the target calls itself by one that means this node here.
func TestOwnCertificatesAreRead(t *testing.T) {
	for _, c := range []struct {
		valid    time.Duration
		hostname string // of the target
		want     string
	}{
		{365 * 24 * time.Hour, "node2", ""},
		{-time.Minute, "node2", "client-cert.pem expired on"},
		{365 * 24 * time.Hour, "self", `is for ["node2"], and not for "kvm-b"`},
	} {
		synctest.Test(t, func(t *testing.T) {
			p, dir, now := encrypted(t), t.TempDir(), time.Now()
			p.Source.URI, p.req.SourceURI = "qemu:///system", "qemu:///system"
			p.Target.URI, p.req.TargetURI = "fake://kvm-b/target", "fake://kvm-b/target"
			p.Source.Peer = p.Target.URI
			p.Target.Name = c.hostname
			pkitest.New(t, now).Write(t, dir, "node1", now, now.Add(c.valid))
			if err := os.WriteFile(p.deps.Conf, []byte("migrate_tls_x509_cert_dir = \""+dir+"\"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			p.Source.Dirs[dir], p.Target.Dirs[dir] = endpointtest.Sends, endpointtest.Receives
			p.Target.Texts[filepath.Join(dir, pki.ServerCert)] = p.Target.Texts[filepath.Join(pki.DefaultDir, pki.ServerCert)]
			x, err := p.run(t)
			var refused []string
			for _, r := range x.Refusals {
				refused = append(refused, r.Error())
			}
			if all := strings.Join(refused, "; "); err != nil || (all == "") != (c.want == "") || !strings.Contains(all, c.want) {
				t.Errorf("valid for %v, %q: refused %q, notes %q, %v", c.valid, c.hostname, all, x.Notes, err)
			}
		})
	}
}
