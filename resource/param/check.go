package param

import (
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vmferry/vmferry/migrate/blackout"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/preflight"
	"github.com/vmferry/vmferry/resource/domainxml"
	"github.com/vmferry/vmferry/resource/ocf/metadata"
	"github.com/vmferry/vmferry/resource/route"
)

// transports are libvirt's ways to another host (libvirt's uri page), but for ext, which runs a program.
var transports = []string{"", "ssh", "tcp", "tls", "libssh", "libssh2"}

// checker looks at values, and at pairs that contradict each other.
type checker struct {
	*reader
	p Params
}

func (c checker) all() {
	c.file()
	c.words()
	c.uris()
	c.paths()
	c.pairs()
	if c.p.Disks != preflight.DisksShared {
		c.disks()
	}
	c.tls()
	c.saving()
	c.mirror()
}

// file wants one of the two files that can describe a guest.
func (c checker) file() {
	switch {
	case c.p.Config != "" && c.p.XMFile != "":
		c.bad("config", "config and xmfile are both set: keep config for libvirt XML, xmfile for an xl configuration")
	case c.p.Config == "" && c.p.XMFile == "":
		c.bad("config", "config is not set: set it to the path of the guest's libvirt XML file")
	}
	if c.p.Name != "" && !domainxml.IsName(c.p.Name) {
		c.bad("name", "name=%q is one that libvirt refuses: leave out slashes and line breaks", c.p.Name)
	}
}

// words looks at what becomes a part of a URI, or is passed to libvirt as it is.
func (c checker) words() {
	if !slices.Contains(transports, c.p.Transport) {
		what := "is unknown"
		if c.p.Transport == "ext" {
			what = "runs a program"
		}
		c.bad("migration_transport", "migration_transport=%q %s: use one of %s, or leave it unset",
			c.p.Transport, what, strings.Join(transports[1:], ", "))
	}
	if c.p.User != "" && !route.IsUser(c.p.User) {
		c.bad("migration_user", "migration_user=%q cannot be used: use lower case letters, digits and dashes, "+
			"beginning with a letter", c.p.User)
	}
	if c.p.Suffix != "" && !route.IsHost("x"+c.p.Suffix) {
		c.bad("migration_network_suffix", "migration_network_suffix=%q cannot be part of a host name: "+
			"use letters, digits, dashes and dots", c.p.Suffix)
	}
	unknown := func(mode string) bool { return !slices.Contains(libvirt.ShutdownModes, mode) }
	if c.p.ShutdownMode != "" && slices.ContainsFunc(strings.Split(c.p.ShutdownMode, ","), unknown) {
		c.bad("shutdown_mode", "shutdown_mode=%q is unknown: use %s, or leave it unset",
			c.p.ShutdownMode, strings.Join(libvirt.ShutdownModes, ", "))
	}
}

// uris looks at all parameters that are URIs, and at what is probed.
func (c checker) uris() {
	hostname, _ := os.Hostname()
	if why := checkHypervisor(c.p.Hypervisor, hostname, c.get("CRM_meta_on_node")); why != "" {
		c.bad("hypervisor", "hypervisor=%q %s", c.p.Hypervisor, why)
	}
	c.uri("migrate_options", c.p.Options.MigrateURI)
	for _, u := range metadata.Parameters() {
		if u.Kind == metadata.URI {
			c.uri(u.Name, c.get(u.Name))
		}
	}
	if len(c.p.Watch) > 0 {
		if err := (blackout.Config{Targets: c.p.Watch}).Validate(); err != nil {
			c.bad("watch", "watch cannot be used: %v", err)
		}
	}
}

func (c checker) uri(name, uri string) {
	const hint = "write it like tcp://%n or qemu+tcp://%n/system"
	parsed, err := url.Parse(strings.ReplaceAll(uri, "%n", "node"))
	switch {
	case uri == "":
	case err != nil:
		c.bad(name, "%s=%q is not a URI: %s", name, uri, hint)
	case parsed.Scheme == "":
		c.bad(name, "%s=%q names no scheme: %s", name, uri, hint)
	default:
		if err := libvirt.CheckURI(uri); err != nil {
			c.bad(name, "%s cannot be used: %v", name, err)
		}
	}
}

// paths looks at all parameters that are paths.
func (c checker) paths() {
	for _, p := range metadata.Parameters() {
		switch value := c.get(p.Name); p.Kind {
		case metadata.Path:
			if value != "" && !filepath.IsAbs(value) {
				c.bad(p.Name, "%s=%q is not an absolute path: begin it with /", p.Name, value)
			}
		case metadata.Paths:
			for _, path := range strings.Fields(value) {
				if !filepath.IsAbs(path) {
					c.bad(p.Name, "%s names %q, which is not an absolute path: begin it with /", p.Name, path)
				}
			}
		}
	}
	for _, s := range strings.Fields(c.get("monitor_scripts")) {
		if strings.Contains(s, "/") && !filepath.IsAbs(s) {
			c.bad("monitor_scripts", "monitor_scripts names %q: give a full path, or the name of a program in PATH", s)
		}
	}
}

// pairs are parameters that are right alone and wrong together.
func (c checker) pairs() {
	o, isXL := c.p.Overlay, c.p.XMFile != ""
	if o.Stateless && o.Backing == "" {
		c.bad("stateless", "stateless is set without backingfile: set backingfile to the image that starts begin with")
	}
	if o.Backing != "" && isXL {
		c.bad("backingfile", "backingfile is for guests of config and not of xmfile: remove one of them")
	}
	if c.p.SaveConfig && isXL {
		c.bad("save_config_on_stop", "save_config_on_stop would put libvirt's XML in place of "+
			"the xl configuration of xmfile: remove one of them, or use config")
	}
}

// saving is for guests that may be saved instead of shut down. snapshot does so at each stop.
func (c checker) saving() {
	const why = "(or shutdown_timeout is 0): a guest that is destroyed cannot be saved, so keep one of them"
	saves := c.p.Ladder.Saves()
	if c.p.ForceStop && c.p.Snapshot != "" {
		c.bad("snapshot", "snapshot and force_stop are both set %s", why)
	}
	switch {
	case c.p.Snapshot != "" && c.p.SaveDir != "":
		c.bad("save_dir", "snapshot and save_dir are both set: keep snapshot to save the guest at each stop, "+
			"or save_dir with save in ladder to save it only when it cannot be moved")
	case saves && c.p.SavesTo() == "":
		c.bad("ladder", "ladder names save, and save_dir is not set: set save_dir to a directory that all nodes share")
	case saves && c.p.ForceStop:
		c.bad("ladder", "ladder names save and force_stop is set %s", why)
	}
}

// disks is for guests whose disks may be copied.
func (c checker) disks() {
	o := c.p.Options
	switch {
	case c.p.IsXen():
		c.bad("disks", "disks=%s is for guests of QEMU: Xen copies no disks, so use shared storage and unset disks",
			c.p.Disks)
	case o.CopyAll || o.CopyInc || len(o.Disks) > 0:
		c.bad("disks", "disks=%s and --copy-storage-all, --copy-storage-inc or --migrate-disks in migrate_options "+
			"are both set: keep one of them", c.p.Disks)
	case o.Tunnelled:
		c.bad("disks", "disks=%s and --tunnelled in migrate_options are both set: "+
			"libvirt copies no disks through its own connection, so remove one of them", c.p.Disks)
	}
}

// tls is for guests whose memory is to be encrypted. libvirtd 11.3 crashes at a tunnelled migration with TLS, and
// QEMU 10.0 refuses TLS with zero-copy.
func (c checker) tls() {
	set := "migrate_options"
	if c.p.TLS {
		set = "migration_tls"
	}
	const tls = "QEMU's TLS (migration_tls, or --tls in migrate_options)"
	switch o := c.p.Options; {
	case !c.p.UsesTLS() && o.TLSDestination != "":
		c.bad(set, "--tls-destination in migrate_options needs TLS: set migration_tls=yes, or remove it")
	case !c.p.UsesTLS():
	case c.p.IsXen():
		c.bad(set, "%s is for guests of QEMU, and Xen sends a guest's memory as it is: remove it, and use "+
			"migration_transport=ssh with migrate_options=--tunnelled, or a private network", tls)
	case o.Tunnelled:
		c.bad(set, "%s and --tunnelled are both set, at which libvirt's daemon crashes: remove --tunnelled", tls)
	case o.ZeroCopy:
		c.bad(set, "%s and --zerocopy are both set, which QEMU refuses: remove --zerocopy", tls)
	}
}
