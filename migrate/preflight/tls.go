package preflight

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/pki"
	"github.com/vmferry/vmferry/migrate/shellword"
)

// certificates is what one end has for a migration with TLS.
type certificates struct {
	dir     string
	missing []string // proven
	unknown bool     // the directory cannot be looked into
}

// certificatesAt looks for the files in the directory that the host's libvirt takes. That its setting is this node's
// cannot be seen for another.
func certificatesAt(ctx context.Context, host lister, s pki.Setting, needs []string) (c certificates) {
	c.dir = s.Dir
	if c.dir == "" {
		c.dir = s.Fallback
		if shows(ctx, host, pki.MigrateDir, 1) == libvirt.VisibleYes {
			c.dir = pki.MigrateDir
		}
	}
	names, err := host.Names(ctx, c.dir)
	if err != nil && shows(ctx, host, c.dir, 1) != libvirt.VisibleNo {
		c.unknown = true
		return c
	}
	for _, file := range needs {
		if !slices.Contains(names, file) {
			c.missing = append(c.missing, file)
		}
	}
	return c
}

func (c certificates) complete() bool { return len(c.missing) == 0 && !c.unknown }

const tlsReason = "the move is to be encrypted (migration_tls)"

// judge refuses an end that lacks a file.
func (c certificates) judge(end string) (notes []string, err error) {
	switch {
	case c.unknown:
		notes = []string{fmt.Sprintf("whether the %s has the certificates for TLS in %q was not checked", end, c.dir)}
	case len(c.missing) > 0:
		err = &Refusal{CheckTLS, fmt.Sprintf("%s, and the %s has no %s in %q", tlsReason, end,
			strings.Join(c.missing, ", "), c.dir), "put them there: see TLS in ocf_vmferry_Domain(7)", nil}
	}
	return notes, err
}

// judgeFlaws refuses a certificate that nobody accepts.
func judgeFlaws(f pki.Flaws) (notes []string, err error) {
	for _, doubt := range f.Doubts {
		notes = append(notes, "the migration with TLS may fail: "+doubt)
	}
	if len(f.Fatal) > 0 {
		err = &Refusal{CheckTLS, tlsReason + ", and " + strings.Join(f.Fatal, ", "),
			"make a new one, or name what it is for in --tls-destination: see TLS in ocf_vmferry_Domain(7)", nil}
	}
	return notes, err
}

// checkTLS wants the certificates of a migration with TLS at both ends: libvirt itself finds out that one is missing
// when the migration begins. That the target's key fits, and that QEMU may read it, shows then.
func checkTLS(ctx context.Context, p *inspection) error {
	if !p.req.Options.TLS {
		return nil
	}
	s, err := pki.Read(cmp.Or(p.deps.Conf, pki.ConfPath))
	if err != nil {
		p.note("the certificates are assumed to be in the default directory: " + err.Error())
	}
	here := certificatesAt(ctx, p.source.Host, s, s.SenderNeeds())
	if err := p.conclude(here.judge("source")); err != nil {
		return err
	}
	if local := hostOf(p.req.SourceURI) == ""; local && here.complete() {
		if err := p.conclude(judgeFlaws(pki.Judge(here.dir, s.SenderNeeds(), s.User, time.Now()))); err != nil {
			return err
		}
	}
	there := certificatesAt(ctx, p.target.Host, s, s.ReceiverNeeds())
	if err := p.conclude(there.judge("target")); err != nil || !there.complete() {
		return err
	}
	return checkServer(ctx, p, filepath.Join(here.dir, pki.Authority), filepath.Join(there.dir, pki.ServerCert))
}

// checkServer reads the certificate that the target's QEMU will show: whether it is valid, and for the name that the
// source's QEMU looks for in it. That is the host of the URI, and without one the name that the target's libvirt puts
// into it: its own, or migration_host of its qemu.conf, which cannot be seen.
func checkServer(ctx context.Context, p *inspection, authority, file string) error {
	raw, err := p.target.Host.Text(ctx, file, pki.Most)
	if err != nil || len(raw) == 0 {
		p.note("the target's certificate was not read, and may not be accepted")
		return nil
	}
	name := cmp.Or(p.req.Options.TLSDestination, hostOf(p.found.Params.URI))
	sure := name != ""
	if !sure {
		if name, err = p.target.Host.Hostname(ctx); err != nil {
			return p.unchecked("whether the target's certificate is for its own name", err)
		}
	}
	var ours []byte
	if hostOf(p.req.SourceURI) == "" {
		if ours, err = pki.ReadFile(authority); err != nil {
			p.log.WithError(err).Info("this node's own CA certificate cannot be read")
		}
	}
	return p.conclude(judgeFlaws(pki.JudgeServer(raw, ours, name, sure, time.Now())))
}

// WithTLSHint is an error of libvirt's or QEMU's with what to do about it, where it is about TLS.
func WithTLSHint(err error, guest string, requested bool) error {
	if hint := tlsHint(err, guest, requested); hint != "" {
		return fmt.Errorf("%w (%s)", err, hint)
	}
	return err
}

// tlsHint says what to do about an error of libvirt's or QEMU's that is about TLS; "" where it is about none.
func tlsHint(err error, guest string, requested bool) string {
	var lerr *libvirt.Error
	if !errors.As(err, &lerr) {
		return ""
	}
	says := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(lerr.Message, w) })
	}
	switch {
	case says("VIR_MIGRATE_TLS"):
		return "migrate_tls_force is set in qemu.conf at one end: set the resource's parameter migration_tls=yes, or " +
			"type vmferry migrate --tls " + shellword.Operands(guest, "NODE")
	case !requested:
	case says("does not match the hostname"):
		return "give the target's server-cert.pem that name as a subjectAltName, or say what name it has: " +
			"migrate_options=--tls-destination=NAME, where %n is the node's"
	case says("credentials", "ertificate", "TLS"):
		return "see TLS in ocf_vmferry_Domain(7): QEMU's user must be able to read the files at both ends, and one " +
			"authority must have signed them; on each node, vmferry check looks at its own"
	}
	return ""
}
