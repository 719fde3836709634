package route

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/command"
	"github.com/vmferry/vmferry/resource/timely"
)

// Route is how a node's libvirt is reached from another node, and where a guest's memory is sent on the way to that
// node.
type Route struct {
	Node    string // the cluster manager's name of the node
	URI     string // its libvirt
	DataURI string // where the guest's memory is sent; empty lets libvirt choose
}

// Config is what a guest's parameters say of the way to other nodes.
type Config struct {
	Hypervisor      string // this node's libvirt
	RemoteURI       string // remoteuri, with %n in it
	Transport       string // migration_transport
	User            string // migration_user
	Suffix          string // migration_network_suffix
	MigrateURI      string // migrateuri, else --migrateuri of migrate_options, with %n in it
	MigratePort     uint16 // migrateport; 0 lets libvirt choose
	NodeIPAttribute string // node_ip_attribute
}

// Its parts are: driver and transport, host (dropped), port, the rest.
var remotePattern = regexp.MustCompile(`^(.*)://[^/:]*(:?[0-9]*)/(.*)$`)

// To is the way to a node. address replaces the node in all URIs, and goes before migration_network_suffix;
// without one, which is empty, that is the node's name. See [Config.Address].
//
// The URI of libvirt is the hypervisor's, with the transport, and with the node in place of its host; remoteuri
// replaces all that. The memory is sent to migrateuri, else to --migrateuri of migrate_options, else to a URI that is
// made from address, migration_network_suffix and migrateport. As in VirtualDomain, %n is the target with
// user and suffix, unless remoteuri is set, which takes the node alone. Without a migrateport the made URI has no
// port: libvirt picks a free one.
//
// The error is also that a name cannot be part of a URI, or that libvirt would run a program for one of the URIs: see
// [libvirt.CheckURI].
func (c Config) To(node, address string) (Route, error) {
	name := bracketed(cmp.Or(address, node))
	host := name
	if address == "" {
		host = WithSuffix(name, c.Suffix)
	}
	r := Route{Node: node, DataURI: c.dataURI(name, host, address != "" || host != name)}
	uri, err := c.libvirtURI(node, name, host)
	if err != nil {
		return Route{}, err
	}
	r.URI = uri
	for _, uri := range []string{r.URI, r.DataURI} {
		if !IsHost(host) && strings.Contains(uri, host) {
			return Route{}, fmt.Errorf("node %q is reached at %q, which is not a host name: correct "+
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

// IsHost reports whether a URI can hold a name as its host.
func IsHost(name string) bool {
	ip, err := netip.ParseAddr(strings.Trim(name, "[]"))
	return err == nil && ip.Zone() == "" || hostPattern.MatchString(name)
}

var userPattern = regexp.MustCompile(`^[a-z][-a-z0-9]*$`)

// IsUser reports whether a URI can hold a name as its user.
func IsUser(name string) bool { return userPattern.MatchString(name) }

// libvirtURI is the URI of a node's libvirt.
func (c Config) libvirtURI(node, name, host string) (string, error) {
	if c.RemoteURI != "" {
		return Naming(c.RemoteURI, name), nil
	}
	if c.User != "" && !IsUser(c.User) {
		return "", fmt.Errorf("migration_user %q cannot be part of a URI: correct it", c.User)
	}
	m := remotePattern.FindStringSubmatch(c.Hypervisor)
	if m == nil {
		return "", fmt.Errorf("hypervisor %q cannot be turned into a URI for node %q: set remoteuri",
			c.Hypervisor, node)
	}
	driver := m[1]
	if c.Transport != "" { // one transport only, where the local URI has one already
		driver, _, _ = strings.Cut(driver, "+")
		driver += "+" + c.Transport
	}
	return driver + "://" + c.account(host) + m[2] + "/" + m[3], nil
}

// dataURI is where the memory is sent. own reports that host is not what the target's libvirt would choose by itself.
func (c Config) dataURI(name, host string, own bool) string {
	switch {
	case c.MigrateURI != "" && c.RemoteURI != "":
		return Naming(c.MigrateURI, name)
	case c.MigrateURI != "":
		return Naming(c.MigrateURI, c.account(host))
	case c.MigratePort != 0:
		return "tcp://" + net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(int(c.MigratePort)))
	case own:
		return "tcp://" + host
	}
	return ""
}

// Naming puts a host in place of %n. One in brackets has them already where it needs them.
func Naming(uri, host string) string {
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
func (c Config) account(host string) string {
	if c.User == "" {
		return host
	}
	return c.User + "@" + host
}

// attributeTime bounds a question to Pacemaker about a node's attribute.
const attributeTime = 5 * time.Second

var errNoAddress = errors.New("the node has no such attribute")

// Address asks Pacemaker, by run, for what the node attribute that node_ip_attribute names has for the node: an
// address or a host name. It is empty, and nothing is asked, where that parameter is unset. An error says why the node
// has no address; its name is used then. It returns within five seconds, and within half of the time of ctx.
func (c Config) Address(ctx context.Context, run command.Runner, node string) (string, error) {
	if c.NodeIPAttribute == "" {
		return "", nil
	}
	ctx, cancel := timely.Within(ctx, attributeTime)
	defer cancel()
	out, err := run.Explained(ctx, "crm_attribute", "--type", "nodes", "--node", node, "--name", c.NodeIPAttribute,
		"--query", "--quiet")
	address := strings.TrimSpace(out)
	switch {
	case err != nil:
	case address == "" || address == "(null)":
		err = errNoAddress
	case !IsHost(address):
		err = fmt.Errorf("%q is neither an address nor a host name", address)
	default:
		return address, nil
	}
	return "", fmt.Errorf("read attribute %q of node %q: %w", c.NodeIPAttribute, node, err)
}

// Table is the ways to nodes that an action has looked up: each node's address is looked up once. It may be used by
// several goroutines.
type Table struct {
	config  Config
	address func(ctx context.Context, node string) (string, error)
	log     logrus.FieldLogger

	mu    sync.Mutex
	known map[string]Route
}

// NewTable makes an empty table; address looks up a node's address, see [Config.Address].
func NewTable(c Config, address func(ctx context.Context, node string) (string, error), log logrus.FieldLogger) *Table {
	return &Table{config: c, address: address, log: log, known: make(map[string]Route)}
}

// To is the way to a node. Where the node has no address, its name is used.
func (t *Table) To(ctx context.Context, node string) (Route, error) {
	t.mu.Lock()
	r, ok := t.known[node]
	t.mu.Unlock()
	if ok {
		return r, nil
	}
	address, err := t.address(ctx, node)
	switch {
	case err != nil:
		t.log.WithError(err).Warnf("node %s has no address to reach it by: using its name", node)
	case address != "":
		t.log.Infof("node %s has the address %s", node, address)
	}
	if r, err = t.config.To(node, address); err != nil {
		return Route{}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.known[node] = r
	return r, nil
}
