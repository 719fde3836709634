package preflight

import (
	"strings"
	"testing"
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
		if hint := tlsHint(says(c.says), "Night Watch 1", c.asked); (hint == "") != (c.hint == "") || !strings.Contains(hint, c.hint) {
			t.Errorf("%q: %q, want %q", c.says, hint, c.hint)
		}
	}
}
