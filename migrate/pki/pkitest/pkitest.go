package pkitest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate/pki"
)

// Authority signs certificates. It exists for the lifetime of the program.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

// New makes an authority that is valid for a year. What is made here begins an hour early: clocks of nodes differ.
func New(t testing.TB, now time.Time) *Authority {
	t.Helper()
	a := &Authority{}
	a.cert, a.key, a.pem = a.sign(t, now, &x509.Certificate{Subject: pkix.Name{CommonName: "authority"},
		NotAfter: now.AddDate(1, 0, 0), IsCA: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign})
	return a
}

// sign makes a key and its certificate, which signs itself where there is no authority yet.
func (a *Authority) sign(
	t testing.TB, now time.Time, form *x509.Certificate,
) (*x509.Certificate, *ecdsa.PrivateKey, []byte) {
	t.Helper()
	fatal := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	fatal(err)
	form.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	fatal(err)
	form.NotBefore, form.BasicConstraintsValid = now.Add(-time.Hour), true
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = form, key
	}
	der, err := x509.CreateCertificate(rand.Reader, form, parent, key.Public(), signer)
	fatal(err)
	cert, err := x509.ParseCertificate(der)
	fatal(err)
	return cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// Issue makes the files of a node by their names, in PEM, of a certificate that is valid until end. It is good for a
// server and for a client, under the node's name, the other names and the addresses.
func (a *Authority) Issue(
	t testing.TB, node string, names []string, addresses []net.IP, now, end time.Time,
) map[string][]byte {
	t.Helper()
	_, key, cert := a.sign(t, now, &x509.Certificate{Subject: pkix.Name{CommonName: node}, NotAfter: end,
		DNSNames: append([]string{node}, names...), IPAddresses: addresses, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}})
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return map[string][]byte{pki.Authority: a.pem, pki.ServerCert: cert, pki.ServerKey: private,
		pki.ClientCert: cert, pki.ClientKey: private}
}

// Write puts the five files for a node into dir, of a certificate that is valid until end.
func (a *Authority) Write(t testing.TB, dir, node string, now, end time.Time) {
	t.Helper()
	for name, raw := range a.Issue(t, node, nil, nil, now, end) {
		if err := os.WriteFile(filepath.Join(dir, name), raw, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
