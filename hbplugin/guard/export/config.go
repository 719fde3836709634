package export

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/vmferry/vmferry/hbplugin/config"
)

// ConfigPath is where the configuration is looked for.
const ConfigPath = "/etc/vmferry/export.toml"

// Config is the configuration of a storage machine, checked.
type Config struct {
	Nodes map[string]netip.AddrPort // where each node's process listens: each node has its own
	Disks map[string]string         // the file or block device of each export, by the export's name
}

// name is what a node and an export may be called: it becomes part of file names and of a unit's name.
var name = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// Parse reads the text of the configuration. Anything that is not understood is an error.
func Parse(text string) (Config, error) {
	var r struct {
		Nodes map[string]config.Text `toml:"nodes"`
		Disks map[string]config.Text `toml:"disks"`
	}
	meta, err := toml.Decode(text, &r)
	if err != nil {
		return Config{}, err
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return Config{}, fmt.Errorf("%q: there is no such setting", unknown[0].String())
	}
	if len(r.Nodes) == 0 || len(r.Disks) == 0 {
		return Config{}, errors.New("[nodes] and [disks] must name one node and one disk at least")
	}
	c := Config{Nodes: map[string]netip.AddrPort{}, Disks: map[string]string{}}
	for disk, path := range r.Disks {
		c.Disks[disk] = string(path)
	}
	for _, node := range slices.Sorted(maps.Keys(r.Nodes)) {
		if err := c.add(node, string(r.Nodes[node])); err != nil {
			return Config{}, fmt.Errorf("nodes: %w", err)
		}
	}
	for _, disk := range slices.Sorted(maps.Keys(c.Disks)) {
		switch path := c.Disks[disk]; {
		case !name.MatchString(disk):
			return Config{}, fmt.Errorf("disks: %q: use letters, digits, '.', '_' and '-'", disk)
		case !filepath.IsAbs(path) || strings.ContainsRune(path, 0):
			return Config{}, fmt.Errorf("disks: %s: %q is not an absolute path", disk, path)
		}
	}
	return c, nil
}

// add adds a node. Two nodes on one address would share one process.
func (c *Config) add(node, text string) error {
	if !name.MatchString(node) {
		return fmt.Errorf("%q: use letters, digits, '.', '_' and '-'", node)
	}
	at, err := netip.ParseAddrPort(text)
	if err != nil || at.Port() == 0 || at.Addr().IsUnspecified() {
		return fmt.Errorf("%s: %q is not one address and port: write it like \"192.0.2.7:10809\"", node, text)
	}
	for other, taken := range c.Nodes {
		if taken == at {
			return fmt.Errorf("%s and %s have the same address %s: each node needs its own", other, node, at)
		}
	}
	c.Nodes[node] = at
	return nil
}

// known is the error of a node that the configuration does not name.
func (c Config) known(node string) error {
	if _, ok := c.Nodes[node]; ok {
		return nil
	}
	return fmt.Errorf("there is no node %q: %s names %s", node, ConfigPath,
		strings.Join(slices.Sorted(maps.Keys(c.Nodes)), ", "))
}
