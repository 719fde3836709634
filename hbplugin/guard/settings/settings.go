package settings

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/vmferry/vmferry/hbplugin/config"
	"github.com/vmferry/vmferry/hbplugin/guard/lease"
	"github.com/vmferry/vmferry/migrate/safefile"
)

// Path is where the configuration is looked for.
const Path = "/etc/vmferry/guard.toml"

// DefaultPort is the UDP port of the guards' link.
const DefaultPort = 5411

// Settings are the configuration, checked.
type Settings struct {
	Device      string                    // the lease device
	Node        string                    // this node's name in the cluster; empty: as the cluster manager says
	Ping        []netip.Addr              // what tells the better side of a split: gateways, switches, storage heads
	Link        map[string]netip.AddrPort // where each node's guard is reached; empty: no renewal over the link
	Revoke      []string                  // program and arguments that revoke a node's access; empty: none
	Admit       []string                  // the same for opening this node's own access again
	Watchdog    string                    // the hardware watchdog; empty: none
	TrustExpiry bool                      // expiry alone is proof enough
}

// raw is the file as it is written.
type raw struct {
	Device      config.Text            `toml:"device"`
	Node        config.Text            `toml:"node"`
	Ping        config.List            `toml:"ping"`
	Link        map[string]config.Text `toml:"link"`
	Revoke      config.List            `toml:"revoke"`
	Admit       config.List            `toml:"admit"`
	Watchdog    config.Text            `toml:"watchdog"`
	TrustExpiry config.Text            `toml:"trust_expiry"`
}

// trust is what trust_expiry must say, word for word: nobody sets it without having read what it risks.
const trust = "a hung node may wake up and write: I accept that"

// Load reads the file at path, which only root may write: it names programs that run as root.
func Load(path string) (Settings, error) {
	text, err := safefile.ReadPrivate(path)
	if errors.Is(err, os.ErrNotExist) {
		return Settings{}, fmt.Errorf("%s is missing: no guard is set up on this node; see vmferry-guard(8)", path)
	}
	if err != nil {
		return Settings{}, fmt.Errorf("read the configuration: %w", err)
	}
	s, err := Parse(string(text))
	if err != nil {
		return Settings{}, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// Parse reads the text of the file. Anything that is not understood is an error.
func Parse(text string) (Settings, error) {
	var r raw
	meta, err := toml.Decode(text, &r)
	if err != nil {
		return Settings{}, err
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return Settings{}, fmt.Errorf("%q: there is no such setting", unknown[0].String())
	}
	s := Settings{Device: string(r.Device), Node: string(r.Node), Revoke: r.Revoke, Admit: r.Admit,
		Watchdog: string(r.Watchdog), TrustExpiry: r.TrustExpiry == trust}
	if r.TrustExpiry != "" && !s.TrustExpiry {
		return Settings{}, fmt.Errorf("trust_expiry: write %q, or leave it out", trust)
	}
	for key, path := range map[string]string{"device": s.Device, "watchdog": s.Watchdog} {
		if (path != "" || key == "device") && !filepath.IsAbs(path) {
			return Settings{}, fmt.Errorf("%s: %q is not an absolute path", key, path)
		}
	}
	for key, program := range map[string][]string{"revoke": s.Revoke, "admit": s.Admit} {
		if len(program) > 0 && !filepath.IsAbs(program[0]) {
			return Settings{}, fmt.Errorf("%s: %q is not an absolute path of a program", key, program[0])
		}
	}
	if len(s.Revoke) == 0 && len(s.Admit) > 0 {
		return Settings{}, errors.New("admit: access that is never revoked is never to be opened again: set revoke too")
	}
	return s, errors.Join(s.pings(r.Ping), s.links(r.Link))
}

func (s *Settings) pings(addresses []string) error {
	for _, text := range addresses {
		a, err := netip.ParseAddr(text)
		switch {
		case err != nil:
			return fmt.Errorf("ping: %q is not an IP address", text)
		case !ofOneHost(a) || a.IsLoopback():
			return fmt.Errorf("ping: %q is no address of another host", text)
		}
		s.Ping = append(s.Ping, a)
	}
	return nil
}

// ofOneHost reports whether an address can be that of one host.
func ofOneHost(a netip.Addr) bool {
	return !a.IsUnspecified() && !a.IsMulticast() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

func (s *Settings) links(addresses map[string]config.Text) error {
	if len(addresses) > 0 {
		s.Link = map[string]netip.AddrPort{}
	}
	for node, value := range addresses {
		text := string(value)
		a, err := netip.ParseAddrPort(text)
		if err != nil {
			var alone netip.Addr
			if alone, err = netip.ParseAddr(text); err != nil {
				return fmt.Errorf("link: %s: %q is not an IP address: write it like \"192.0.2.7\" or \"192.0.2.7:%d\"",
					node, text, DefaultPort)
			}
			a = netip.AddrPortFrom(alone, DefaultPort)
		}
		if !ofOneHost(a.Addr()) || a.Port() == 0 {
			return fmt.Errorf("link: %s: %q is not the address and port of one node", node, text)
		}
		s.Link[node] = a
	}
	return nil
}

// Check is the error of settings that do not fit the lease device.
func (s Settings) Check(h lease.Header, node string) error {
	if h.ID(node) == 0 {
		return fmt.Errorf("this node is %q, and the lease device of cluster %q has the nodes %s", node, h.Cluster,
			strings.Join(h.Nodes, ", "))
	}
	if len(s.Link) == 0 {
		return nil
	}
	for name := range s.Link {
		if h.ID(name) == 0 {
			return fmt.Errorf("link: the lease device knows no node %q: it has %s", name, strings.Join(h.Nodes, ", "))
		}
	}
	taken := map[netip.AddrPort]string{}
	for _, name := range h.Nodes {
		at := s.Link[name]
		switch {
		case !at.IsValid():
			return fmt.Errorf("link: node %s is missing: name every node, or none", name)
		case taken[at] != "":
			return fmt.Errorf("link: nodes %s and %s have the same address %s: each has its own", taken[at], name, at)
		case slices.Contains(s.Ping, at.Addr()):
			return fmt.Errorf("ping: %s is node %s, which reaches it even if it reaches nothing else: name gateways and switches",
				at.Addr(), name)
		}
		taken[at] = name
	}
	return nil
}
