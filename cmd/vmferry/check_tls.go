package main

import (
	"context"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/vmferry/vmferry/hbplugin/config"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/pki"
	"github.com/vmferry/vmferry/migrate/shellword"
)

// encryption is how a guest goes to another node.
type encryption struct {
	guest bool // what it has in memory, and disks that go along, travel encrypted
	tls   bool // by the hypervisors' TLS
	link  bool // libvirt's own connection is encrypted
}

// encryptionOf is not known where a rule decides it, or there is no way to another node.
func (k *checker) encryptionOf(cl *claim) (e encryption, known bool) {
	to, err := cl.env.Params.Route(k.inv.node, "") // all ways are of one kind
	ruled := slices.ContainsFunc([]string{"migration_tls", "migrate_options", "migration_transport", "remoteuri"},
		func(p string) bool { return slices.Contains(cl.ruled, p) })
	p := cl.env.Params
	p.TLS = p.TLS && !cl.foreign // which VirtualDomain does not know
	return encryption{p.Encrypts(to), p.UsesTLS(), libvirt.Encrypted(to.URI)}, err == nil && !ruled
}

// checkEncryption: do the guests of the cluster's, here or elsewhere, travel unencrypted? And where they must not, are
// this node's own certificates in order?
func checkEncryption(_ context.Context, k *checker) {
	var plain, bare []*claim
	some, tls := false, false
	for i := range k.inv.claims {
		cl := &k.inv.claims[i]
		e, known := k.encryptionOf(cl)
		if cl.pinned() || !known {
			continue
		}
		some, tls = some || e.guest, tls || e.tls
		switch {
		case !e.guest:
			plain = append(plain, cl)
		case !e.link:
			bare = append(bare, cl)
		}
	}
	number, list := guestsOf(plain)
	switch {
	case len(plain) > 0:
		k.add("encryption", "", warning, "memory and copied disks of "+number+" travel unencrypted: "+list,
			encryptRemedy(plain))
	case some:
		k.add("encryption", "", ok, "memory and copied disks travel encrypted", "")
	}
	if number, list = guestsOf(bare); len(bare) > 0 {
		k.add("encryption", "", warning, "libvirt's own connection, which tells where the memory goes, is unencrypted for "+
			number+": "+list, "set migration_transport=ssh or tls, or the same in remoteuri")
	}
	if tls {
		k.checkCertificates()
	}
}

// guestsOf says how many guests they are, and which.
func guestsOf(claims []*claim) (number, list string) {
	var names []string
	for _, cl := range claims {
		names = append(names, cl.guest)
	}
	return plural(len(names), "guest"), strings.Join(names, ", ")
}

// encryptRemedy is what to type for guests that travel unencrypted.
func encryptRemedy(plain []*claim) string {
	cl := plain[0]
	first := "only libvirt's own connection is encrypted by migration_transport; "
	switch {
	case cl.env.Params.IsXen():
		first += "Xen has no TLS for it: set migrate_options=--tunnelled with migration_transport=ssh"
	case cl.foreign:
		first += "with certificates on each node (TLS in ocf_vmferry_Domain(7)), add --tls to its migrate_options"
	case cl.manager == config.Pacemaker:
		first += "with certificates on each node (TLS in ocf_vmferry_Domain(7)), type: " + shellword.Line("crm_resource",
			"--resource", cl.resource, "--set-parameter", "migration_tls", "--parameter-value", "yes")
	default:
		first += "with certificates on each node (TLS in ocf_vmferry_Domain(7)), add ::migration_tls=yes to it in haresources"
	}
	if len(plain) > 1 {
		first += "; likewise for the others"
	}
	return first + "; on a network that only the nodes reach it may stay as it is"
}

// checkCertificates looks at the certificates by which this node sends guests and takes them in.
func (k *checker) checkCertificates() {
	s, err := pki.Read(k.path(pki.ConfPath))
	if err != nil {
		k.add("certificates", "", warning, "where they are is taken to be as usual: "+err.Error(), "run this as root")
	}
	dir := s.Dir
	if dir == "" {
		dir = s.Fallback
		if info, err := os.Stat(k.path(pki.MigrateDir)); err == nil && info.IsDir() {
			dir = pki.MigrateDir
		}
	}
	files := append(s.ReceiverNeeds(), s.SenderNeeds()[1:]...)
	f := pki.Judge(k.path(dir), files, s.User, time.Now())
	const remedy = "replace them: see TLS in ocf_vmferry_Domain(7)"
	switch {
	case len(f.Fatal) > 0:
		k.add("certificates", dir, problem, strings.Join(append(f.Fatal, f.Doubts...), "; "), remedy)
	case len(f.Doubts) > 0:
		k.add("certificates", dir, warning, strings.Join(f.Doubts, "; "), remedy)
	default:
		k.add("certificates", dir, ok, strings.Join(files, ", "), "")
	}
}
