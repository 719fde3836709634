package param

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// Route is how a node's libvirt is reached from another node, and where a guest's memory is sent on the way to that
// node. [Params.Route] is the one place that makes it: a migration, the question to a peer before a start, and what is
// told of both beforehand name a node in the same way.
type Route struct {
	Node    string // the cluster manager's name of the node
	URI     string // its libvirt
	DataURI string // where the guest's memory is sent; empty lets libvirt choose
}

// Its parts are: driver and transport, host (dropped), port, the rest.
var remotePattern = regexp.MustCompile(`^(.*)://[^/:]*(:?[0-9]*)/(.*)$`)

// Route is the way to a node. address stands for the node in all URIs, and goes before migration_network_suffix;
// without one, which is empty, that is the node's name. See [Params.AddressOf].
//
// The URI of libvirt is the hypervisor's, with the transport, and with the node in place of its host; remoteuri
// replaces all that. The memory is sent to migrateuri, else to --migrateuri of migrate_options, else to a URI that is
// made from address, migration_network_suffix and migrateport. As in VirtualDomain, %n stands for the target with
// user and suffix, unless remoteuri is set, which takes the node alone. Without a migrateport the made URI has no
// port: libvirt picks a free one.
//
// The error is also that a name cannot be part of a URI, or that libvirt would run a program for one of the URIs: see
// [libvirt.CheckURI].
func (p Params) Route(node, address string) (Route, error) {
	name := bracketed(cmp.Or(address, node))
	host := name
	if address == "" {
		host = WithSuffix(name, p.Suffix)
	}
	r := Route{Node: node, DataURI: p.dataURI(name, host, address != "" || host != name)}
	uri, err := p.libvirtURI(node, name, host)
	if err != nil {
		return Route{}, err
	}
	r.URI = uri
	for _, uri := range []string{r.URI, r.DataURI} {
		if !IsHost(host) && strings.Contains(uri, host) {
			return Route{}, fmt.Errorf("node %q is reached at %q, which is no host name: correct "+
				"migration_network_suffix, or name the node's libvirt in remoteuri", node, host)
		}
		if err := libvirt.CheckURI(uri); err != nil {
			return Route{}, fmt.Errorf("reach node %q: %w", node, err)
		}
	}
	return r, nil
}

// hostPattern is what a URI can hold as a host name without another meaning. A dash at its beginning would make an
// option of it.
var hostPattern = regexp.MustCompile(`^[.\pL\pN_][-.\pL\pN_]*$`)

// IsHost tells whether a URI can hold a name or an address as its host.
func IsHost(name string) bool {
	ip, err := netip.ParseAddr(strings.Trim(name, "[]"))
	return err == nil && ip.Zone() == "" || hostPattern.MatchString(name)
}

// libvirtURI is the URI of a node's libvirt.
func (p Params) libvirtURI(node, name, host string) (string, error) {
	if p.RemoteURI != "" {
		return naming(p.RemoteURI, name), nil
	}
	if p.User != "" && !userPattern.MatchString(p.User) {
		return "", fmt.Errorf("migration_user %q cannot be part of a URI: correct it", p.User)
	}
	m := remotePattern.FindStringSubmatch(p.Hypervisor)
	if m == nil {
		return "", fmt.Errorf("hypervisor %q cannot be turned into a URI for node %q: set remoteuri",
			p.Hypervisor, node)
	}
	driver := m[1]
	if p.Transport != "" { // one transport only, where the local URI has one already
		driver, _, _ = strings.Cut(driver, "+")
		driver += "+" + p.Transport
	}
	return driver + "://" + p.account(host) + m[2] + "/" + m[3], nil
}

// UsesTLS tells whether the memory of a guest that moves, and disks that go along, are encrypted by the hypervisors:
// for migration_tls, or for --tls in migrate_options.
func (p Params) UsesTLS() bool { return p.TLS || p.Options.TLS }

// Encrypts tells whether the memory of a guest that moves on that way, and the disks that go along, are encrypted: by
// the hypervisors' TLS, or in libvirt's own connection where its transport is encrypted.
func (p Params) Encrypts(to Route) bool {
	return p.UsesTLS() || p.Options.Tunnelled && libvirt.Encrypted(to.URI)
}

// dataURI is where the memory is sent. own tells that host is not what the target's libvirt would choose by itself.
func (p Params) dataURI(name, host string, own bool) string {
	uri := cmp.Or(p.MigrateURI, p.Options.MigrateURI)
	switch {
	case uri != "" && p.RemoteURI != "":
		return naming(uri, name)
	case uri != "":
		return naming(uri, p.account(host))
	case p.MigratePort != 0:
		return "tcp://" + net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(int(p.MigratePort)))
	case own:
		return "tcp://" + host
	}
	return ""
}

// TargetURI is the URI of [Params.Route], for a node without an address of its own.
func (p Params) TargetURI(node string) (string, error) {
	r, err := p.Route(node, "")
	return r.URI, err
}

// naming puts a host in place of %n. One in brackets has them already where it needs them.
func naming(uri, host string) string {
	return strings.NewReplacer("[%n]", host, "%n", host).Replace(uri)
}

// bracketed writes an IPv6 address as a URI has it.
func bracketed(host string) string {
	if ip, err := netip.ParseAddr(host); err == nil && ip.Is6() {
		return "[" + host + "]"
	}
	return host
}

// WithSuffix puts the migration network's suffix behind the first label of a host name. An address has none.
func WithSuffix(host, suffix string) string {
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil || strings.HasPrefix(host, ".") {
		return host
	}
	label, rest, dotted := strings.Cut(host, ".")
	if dotted {
		return label + suffix + "." + rest
	}
	return label + suffix
}

// account puts the migration user before a host.
func (p Params) account(host string) string {
	if p.User == "" {
		return host
	}
	return p.User + "@" + host
}
