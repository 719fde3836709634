package pkitest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate/pki"
)

// Authority signs certificates.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

// New makes an authority that is valid from now on for a year.
func New(t testing.TB, now time.Time) *Authority {
	t.Helper()
	a := &Authority{}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign}
	a.cert, a.key, a.pem = a.sign(t, template)
	return a
}

// sign makes a key and its certificate, which signs itself where there is no authority yet.
func (a *Authority) sign(t testing.TB, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// Write puts the five files for a node into dir. Its own certificates are valid from an hour before now until end.
func (a *Authority) Write(t testing.TB, dir, node string, now, end time.Time) {
	t.Helper()
	put := func(name string, raw []byte, mode os.FileMode) {
		if err := os.WriteFile(filepath.Join(dir, name), raw, mode); err != nil {
			t.Fatal(err)
		}
	}
	put(pki.Authority, a.pem, 0o644)
	for _, f := range []struct {
		cert, key string
		usage     x509.ExtKeyUsage
	}{{pki.ServerCert, pki.ServerKey, x509.ExtKeyUsageServerAuth}, {pki.ClientCert, pki.ClientKey, x509.ExtKeyUsageClientAuth}} {
		_, key, cert := a.sign(t, &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: node},
			DNSNames: []string{node}, NotBefore: now.Add(-time.Hour), NotAfter: end, BasicConstraintsValid: true,
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{f.usage}})
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		put(f.cert, cert, 0o644)
		put(f.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o644)
	}
}
