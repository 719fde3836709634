package preflight

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// reach is where a name leads, seen from this node.
type reach string

const (
	elsewhere reach = ""                           // to another host
	nowhere   reach = "does not resolve here"      // to none
	home      reach = "resolves to this node here" // to this node, or to whoever asks
)

// reachOf is where a name leads that has such addresses; own are this node's. One wrong address of several is enough,
// as libvirt tries them in turn, and another guest's QEMU may listen on the same port here.
func reachOf(addrs, own []netip.Addr) reach {
	if len(addrs) == 0 {
		return nowhere
	}
	plain := func(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }
	for _, a := range addrs {
		is := func(own netip.Addr) bool { return plain(own) == plain(a) }
		if plain(a).IsLoopback() || plain(a).IsUnspecified() || slices.ContainsFunc(own, is) {
			return home
		}
	}
	return elsewhere
}

// route is what is known of where the memory of a guest can be sent to.
type route struct {
	name  string // by which the target calls itself, and which its libvirt puts into the address
	named reach
	host  string // in the URI of the target's libvirt, as it is used from here, "" for none
	known reach
}

// decide is the whole rule: the address to give to libvirt ("" leaves it to the target) and why, or a refusal. A name
// that begins with localhost is refused by libvirt itself (qemuMigrationDstPrepareDirect).
func (r route) decide() (uri, why string, err error) {
	named := r.named
	if strings.HasPrefix(r.name, "localhost") {
		named = home
	}
	if named == elsewhere {
		return "", "", nil
	}
	why = fmt.Sprintf("the target calls itself %q, which %s", r.name, named)
	if r.host != "" && r.known == elsewhere {
		return strings.TrimSuffix("tcp://"+net.JoinHostPort(r.host, ""), ":"), why, nil
	}
	return "", "", &Refusal{CheckAddress, why, "make that name the target's here, in DNS or /etc/hosts, " +
		"or say where the memory goes: migrateuri=tcp://ADDRESS-OF-THE-TARGET", nil}
}

// chooseAddress finds the address that the memory is sent to, where nobody gave one. What a name means counts at the
// source: one that is another node cannot be asked. That the target has a migration_host in its qemu.conf cannot be
// seen; it is used where the target's own name is good, and migrateuri says it elsewhere.
func chooseAddress(ctx context.Context, p *inspection) error {
	switch {
	case p.req.Options.Tunnelled || hostOf(p.req.SourceURI) != "":
		return nil
	case p.req.MigrateURI != "":
		return checkGiven(ctx, p)
	}
	name, err := p.target.Host.Hostname(ctx)
	if err != nil {
		return p.unchecked("whether the target's own name resolves here", err)
	}
	own := ownAddresses
	if p.deps.Own != nil {
		own = p.deps.Own
	}
	r := route{name: name, host: hostOf(p.req.TargetURI)}
	if r.host != "" { // first: a name server that gives no answer for the other takes all of the time
		r.known = reachOf(lookUp(ctx, p, r.host), own())
	}
	r.named = reachOf(lookUp(ctx, p, name), own())
	uri, why, err := r.decide()
	if uri != "" {
		p.found.Params.URI = uri
		p.note(fmt.Sprintf("%s: the memory is sent to %s, unless migrateuri says otherwise", why, uri))
	}
	return err
}

// checkGiven refuses an address that somebody gave where its host does not resolve here. One that means this node may
// be the end of a tunnel; one without a host, such as unix:///run/x, names nothing that could be looked up.
func checkGiven(ctx context.Context, p *inspection) error {
	name := hostOf(p.req.MigrateURI)
	if name == "" || len(lookUp(ctx, p, name)) > 0 {
		return nil
	}
	if ctx.Err() != nil { // a name server that gives no answer proves nothing
		return p.unchecked(fmt.Sprintf("whether the name %q of migrateuri resolves here", name), errMute)
	}
	return &Refusal{CheckAddress,
		fmt.Sprintf("the memory is to be sent to %q, and the name %q %s", p.req.MigrateURI, name, nowhere),
		"correct migrateuri, or make that name the target's here, in DNS or /etc/hosts", nil}
}

var errMute = errors.New("no answer in time")

// lookUp is empty for a name that does not resolve.
func lookUp(ctx context.Context, p *inspection, host string) []netip.Addr {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}
	}
	resolve := p.deps.Resolve
	if resolve == nil {
		resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	addrs, err := resolve(ctx, host)
	if err != nil {
		p.log.WithError(err).Infof("the name %q does not resolve here", host)
	}
	return addrs
}

// hostOf is the host in a URI, without brackets, and "" where it has none.
func hostOf(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

func ownAddresses() (own []netip.Addr) {
	all, _ := net.InterfaceAddrs() // without them a name of this node's is not known as such
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			own = append(own, p.Addr())
		}
	}
	return own
}
