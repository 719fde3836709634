package pki

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vmferry/vmferry/migrate/safefile"
)

// Flaws are what is wrong with the certificates of a node, in words.
type Flaws struct {
	Fatal  []string // a migration with TLS fails for it
	Doubts []string // it may fail for it, or will soon
}

// soon is how long before its end a certificate is worth a word.
const soon = 14 * 24 * time.Hour

// Judge reads those of the files that a directory of this node has, and says what is wrong with them. user is that of
// QEMU's processes, as [Setting] has it, and now is the time by which they are valid or not. Keys are not opened.
func Judge(dir string, files []string, user string, now time.Time) (f Flaws) {
	certs := map[string][]*x509.Certificate{}
	for _, name := range files {
		path := filepath.Join(dir, name)
		if name == ServerKey || name == ClientKey {
			f.checkKey(path, user)
			continue
		}
		raw, err := ReadFile(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			f.Fatal = append(f.Fatal, fmt.Sprintf("%s is missing", path))
		case err != nil:
			f.Doubts = append(f.Doubts, fmt.Sprintf("%s cannot be read: %v", path, err))
		default:
			certs[name] = f.parse(path, raw, now)
		}
	}
	for name, usage := range map[string]x509.ExtKeyUsage{ServerCert: x509.ExtKeyUsageServerAuth,
		ClientCert: x509.ExtKeyUsageClientAuth} {
		if why := verify(certs[name], certs[Authority], usage, now); why != nil {
			f.Doubts = append(f.Doubts, fmt.Sprintf("%s: %v", filepath.Join(dir, name), why))
		}
	}
	slices.Sort(f.Doubts)
	return f
}

const peers = "the target's " + ServerCert

// JudgeServer says what is wrong with the certificate of another node, which is in raw, for a connection to host. now
// is the time by which it is valid or not; authority is this node's, nil where that is not known. sure reports that the
// connection goes to host and to no other name.
func JudgeServer(raw, authority []byte, host string, sure bool, now time.Time) (f Flaws) {
	chain := f.parse(peers, raw, now)
	if len(chain) == 0 {
		return f
	}
	if !isFor(chain[0], host) {
		text := fmt.Sprintf("%s is for %q, and not for %q", peers, namesOf(chain[0]), host)
		if sure {
			f.Fatal = append(f.Fatal, text)
		} else {
			f.Doubts = append(f.Doubts, text)
		}
	}
	var none Flaws
	if why := verify(chain, none.parse(Authority, authority, now), x509.ExtKeyUsageServerAuth, now); why != nil {
		f.Doubts = append(f.Doubts, fmt.Sprintf("%s: %v", peers, why))
	}
	return f
}

// isFor is as lenient as GnuTLS may be: a name counts as a text as well, and the common name where there is no other,
// also one for any host of a domain.
func isFor(c *x509.Certificate, host string) bool {
	_, domain, _ := strings.Cut(host, ".")
	return c.VerifyHostname(host) == nil || slices.ContainsFunc(namesOf(c), func(name string) bool {
		return strings.EqualFold(name, host) || domain != "" && strings.EqualFold(name, "*."+domain)
	})
}

// namesOf are the names and addresses that a certificate is for.
func namesOf(c *x509.Certificate) []string {
	names := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if len(c.DNSNames) == 0 && c.Subject.CommonName != "" {
		names = append(names, c.Subject.CommonName)
	}
	return names
}

// checkKey reports a key that only root may read: QEMU itself opens it, mostly as another user.
func (f *Flaws) checkKey(path, user string) {
	isRoot := slices.Contains([]string{"root", "0", "+0"}, user)
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.Fatal = append(f.Fatal, fmt.Sprintf("%s is missing", path))
	case err != nil:
		f.Doubts = append(f.Doubts, fmt.Sprintf("%s cannot be looked at: %v", path, err))
	case !isRoot && safefile.OwnerOf(info) == 0 && info.Mode()&0o044 == 0:
		f.Doubts = append(f.Doubts, fmt.Sprintf("%s is readable for root alone, and QEMU's user must read it", path))
	}
}

// parse takes the certificates out of a file, and looks at the time for which the first of them is valid: those behind
// it may belong to nobody by now.
func (f *Flaws) parse(path string, raw []byte, now time.Time) (all []*x509.Certificate) {
	for block, rest := pem.Decode(raw); block != nil; block, rest = pem.Decode(rest) {
		if c, err := x509.ParseCertificate(block.Bytes); block.Type == "CERTIFICATE" && err == nil {
			all = append(all, c)
		}
	}
	switch {
	case len(all) == 0:
		f.Doubts = append(f.Doubts, fmt.Sprintf("%s has no certificate that can be read", path))
	case now.After(all[0].NotAfter):
		f.Fatal = append(f.Fatal, fmt.Sprintf("%s expired on %s", path, day(all[0].NotAfter)))
	case now.Before(all[0].NotBefore):
		f.Fatal = append(f.Fatal, fmt.Sprintf("%s is not valid before %s", path, day(all[0].NotBefore)))
	case now.Add(soon).After(all[0].NotAfter):
		f.Doubts = append(f.Doubts, fmt.Sprintf("%s expires on %s", path, day(all[0].NotAfter)))
	}
	return all
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

// verify reports whether an authority signed a certificate. Go judges more strictly than GnuTLS, which QEMU uses:
// its no is a doubt. It is nil where there is nothing to judge.
func verify(chain, authority []*x509.Certificate, usage x509.ExtKeyUsage, now time.Time) error {
	if len(chain) == 0 || len(authority) == 0 || now.After(chain[0].NotAfter) {
		return nil
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	for _, c := range authority {
		roots.AddCert(c)
	}
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{usage}})
	return err
}
