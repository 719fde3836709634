package pkitest

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"testing"
	"time"
)

// handshake has two nodes speak over TLS, each with its certificate, and returns what the client and the server say.
func handshake(t *testing.T, client, server map[string][]byte, name string) error {
	t.Helper()
	pair := func(files map[string][]byte, role string) tls.Certificate {
		p, err := tls.X509KeyPair(files[role+"-cert.pem"], files[role+"-key.pem"])
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	pool := func(files map[string][]byte) *x509.CertPool {
		p := x509.NewCertPool()
		if !p.AppendCertsFromPEM(files["ca-cert.pem"]) {
			t.Fatal("the authority's certificate cannot be read")
		}
		return p
	}
	a, b := net.Pipe()
	c := tls.Client(a, &tls.Config{
		Certificates: []tls.Certificate{pair(client, "client")}, RootCAs: pool(client), ServerName: name,
	})
	s := tls.Server(b, &tls.Config{
		Certificates: []tls.Certificate{pair(server, "server")},
		ClientCAs:    pool(server), ClientAuth: tls.RequireAndVerifyClientCert,
	})
	said := make(chan error, 1)
	go func() {
		err := s.Handshake()
		b.Close() // nobody reads the alert of one that was refused
		said <- err
	}()
	err := c.Handshake()
	a.Close()
	return errors.Join(err, <-said)
}

func TestIssue(t *testing.T) {
	issue := func(a *Authority, node string) map[string][]byte {
		now := time.Now()
		names, addresses := []string{node + ".kvm.example"}, []net.IP{net.IPv4(10, 77, 0, 2)}
		return a.Issue(t, node, names, addresses, now, now.Add(time.Hour))
	}
	ours, foreign := New(t, time.Now()), New(t, time.Now())
	node1, node2, stranger := issue(ours, "node1"), issue(ours, "node2"), issue(foreign, "node2")
	for _, c := range []struct {
		name           string
		client, server map[string][]byte
		as             string
		ok             bool
	}{
		{"by its name", node1, node2, "node2", true},
		{"by another name", node1, node2, "node2.kvm.example", true},
		{"by its address", node1, node2, "10.77.0.2", true},
		{"by a name that it has not", node1, node2, "node1", false},
		{"of another authority", node1, stranger, "node2", false},
	} {
		if err := handshake(t, c.client, c.server, c.as); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
