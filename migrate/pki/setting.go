package pki

import (
	"cmp"
	"errors"
	"io/fs"
	"regexp"

	"github.com/vmferry/vmferry/migrate/safefile"
)

// ConfPath is the file in which libvirt's QEMU driver has its settings.
const ConfPath = "/etc/libvirt/qemu.conf"

// The directories that libvirt takes where its settings name none: the first where it exists, else the second.
const (
	MigrateDir = "/etc/pki/libvirt-migrate"
	DefaultDir = "/etc/pki/qemu"
)

// The files of such a directory.
const (
	Authority  = "ca-cert.pem"
	ServerCert = "server-cert.pem"
	ServerKey  = "server-key.pem"
	ClientCert = "client-cert.pem"
	ClientKey  = "client-key.pem"
)

// Setting is what qemu.conf says of migrations with TLS.
type Setting struct {
	Dir      string // migrate_tls_x509_cert_dir; empty where it is not set
	Fallback string // default_tls_x509_cert_dir, never empty
	Verify   bool   // migrate_tls_x509_verify: who sends a guest must have a certificate
	User     string // of QEMU's processes; empty where it is the package's own
}

var settingPattern = regexp.MustCompile(`(?m)^[ \t]*([a-z0-9_]+)[ \t]*=[ \t]*(?:"([^"\n]*)"|'([^'\n]*)'|([0-9]+))`)

// Parse reads the text of qemu.conf. As libvirt does, it takes the last of several values.
func Parse(conf []byte) Setting {
	said := map[string]string{}
	for _, m := range settingPattern.FindAllSubmatch(conf, -1) {
		said[string(m[1])] = string(m[2]) + string(m[3]) + string(m[4])
	}
	verify := cmp.Or(said["migrate_tls_x509_verify"], said["default_tls_x509_verify"], "1")
	return Setting{
		Dir: said["migrate_tls_x509_cert_dir"], Fallback: cmp.Or(said["default_tls_x509_cert_dir"], DefaultDir),
		Verify: verify != "0", User: said["user"],
	}
}

// Most is how much of a file is read, in bytes: none of them is as large.
const Most = 1 << 20

// Read reads qemu.conf. Where there is none, libvirt has its defaults, and so has Setting.
func Read(path string) (Setting, error) {
	raw, err := ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return Parse(raw), err
}

// ReadFile reads a regular file of at most [Most] bytes; see [safefile.Read].
func ReadFile(path string) ([]byte, error) { return safefile.Read(path, Most, safefile.Anyone) }

// SenderNeeds are the files that a node needs to send a guest.
func (s Setting) SenderNeeds() []string {
	if s.Verify {
		return []string{Authority, ClientCert, ClientKey}
	}
	return []string{Authority}
}

// ReceiverNeeds are the files that a node needs to take one in.
func (s Setting) ReceiverNeeds() []string { return []string{Authority, ServerCert, ServerKey} }
