package check

import (
	"strings"

	"github.com/vmferry/vmferry/hbplugin/config"
	"github.com/vmferry/vmferry/hbplugin/inventory"
	"github.com/vmferry/vmferry/hbplugin/verdict"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/shellword"
)

// travel is how a guest goes to another node.
type travel struct {
	guest bool // what it has in memory, and disks that go along, travel encrypted
	tls   bool // by the hypervisors' TLS
	link  bool // libvirt's own connection is encrypted
}

// travelOf is not known where a rule decides it, or there is no way to another node.
func travelOf(c *inventory.Claim, node string) (t travel, known bool) {
	p := c.Environ.Params
	to, err := p.Route(node, "") // all ways are of one kind
	if err != nil || c.IsPinned() || c.IsRuled("migration_tls", "migrate_options", "migration_transport", "remoteuri") {
		return t, false
	}
	p.TLS = p.TLS && !c.Foreign() // which VirtualDomain does not know
	return travel{p.Encrypts(to), p.UsesTLS(), libvirt.Encrypted(to.URI)}, true
}

// usesTLS reports whether any guest travels by the hypervisors' TLS.
func (o *Observed) usesTLS() bool {
	return o.ClaimOf(func(c inventory.Claim) bool {
		t, known := travelOf(&c, o.Node)
		return known && t.tls
	}) != nil
}

// encryption: do the guests of the cluster's, here or elsewhere, travel unencrypted?
func encryption(o *Observed, f *findings) {
	var plain, bare []*inventory.Claim
	some := false
	for i := range o.Claims {
		c := &o.Claims[i]
		switch t, known := travelOf(c, o.Node); {
		case !known:
		case !t.guest:
			plain = append(plain, c)
		default:
			some = true
			if !t.link {
				bare = append(bare, c)
			}
		}
	}
	number, list := guestsOf(plain)
	switch {
	case len(plain) > 0:
		f.add("", Warning, "memory and copied disks of "+number+" travel unencrypted: "+list, encryptRemedy(plain))
	case some:
		f.add("", OK, "memory and copied disks travel encrypted", "")
	}
	if number, list = guestsOf(bare); len(bare) > 0 {
		f.add("", Warning, "libvirt's own connection, which tells where the memory goes, is unencrypted for "+
			number+": "+list, "set migration_transport=ssh or tls, or the same in remoteuri")
	}
}

// guestsOf says how many guests they are, and which.
func guestsOf(claims []*inventory.Claim) (number, list string) {
	var names []string
	for _, c := range claims {
		names = append(names, c.Guest)
	}
	return verdict.Count(len(names), "guest"), strings.Join(names, ", ")
}

// encryptRemedy is what to type for guests that travel unencrypted.
func encryptRemedy(plain []*inventory.Claim) string {
	c := plain[0]
	first := "only libvirt's own connection is encrypted by migration_transport; "
	switch {
	case c.Environ.Params.IsXen():
		first += "Xen has no TLS for it: set migrate_options=--tunnelled with migration_transport=ssh"
	case c.Foreign():
		first += "with certificates on each node (TLS in ocf_vmferry_Domain(7)), add --tls to its migrate_options"
	case c.Manager == config.Pacemaker:
		first += "with certificates on each node (TLS in ocf_vmferry_Domain(7)), type: " +
			shellword.Line("crm_resource",
				"--resource", c.Resource, "--set-parameter", "migration_tls", "--parameter-value", "yes")
	default:
		first += "with certificates on each node (TLS in ocf_vmferry_Domain(7)), add ::migration_tls=yes to it in " +
			"haresources"
	}
	if len(plain) > 1 {
		first += "; likewise for the others"
	}
	return first + "; on a network that only the nodes reach it may stay as it is"
}

// certificates: are this node's own in order, where guests travel by TLS?
func certificates(o *Observed, f *findings) {
	c := o.Certificates
	if c == nil {
		return
	}
	if c.conf != nil {
		f.add("", Warning, "where they are is taken to be as usual: "+c.conf.Error(), "run this as root")
	}
	const remedy = "replace them: see TLS in ocf_vmferry_Domain(7)"
	switch {
	case len(c.flaws.Fatal) > 0:
		f.add(c.dir, Problem, strings.Join(append(c.flaws.Fatal, c.flaws.Doubts...), "; "), remedy)
	case len(c.flaws.Doubts) > 0:
		f.add(c.dir, Warning, strings.Join(c.flaws.Doubts, "; "), remedy)
	default:
		f.add(c.dir, OK, strings.Join(c.files, ", "), "")
	}
}
