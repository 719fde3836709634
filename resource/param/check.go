package param

import (
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/blackout"
	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/domainxml"
	"github.com/vmferry/vmferry/resource/ocf/metadata"
)

// transports are libvirt's ways to another host (libvirt's uri page), but for ext, which runs a program.
var transports = []string{"", "ssh", "tcp", "tls", "libssh", "libssh2"}

var userPattern = regexp.MustCompile(`^[a-z][-a-z0-9]*$`)

// check looks at values, and at pairs that contradict each other.
func (r *reader) check(p Params) {
	r.checkFile(p)
	r.checkWords(p)
	r.checkURIs(p)
	r.checkPaths()
	r.checkPairs(p)
	if p.Disks != migrate.DisksShared {
		r.checkDisks(p)
	}
	r.checkTLS(p)
	r.checkSaving(p)
}

// checkFile wants one of the two files that can describe a guest.
func (r *reader) checkFile(p Params) {
	switch {
	case p.Config != "" && p.XMFile != "":
		r.bad("config", "config and xmfile are both set: keep config for libvirt XML, or xmfile for an xl configuration")
	case p.Config == "" && p.XMFile == "":
		r.bad("config", "config is not set: set it to the path of the guest's libvirt XML file")
	}
	if p.Name != "" && !domainxml.IsName(p.Name) {
		r.bad("name", "name=%q is one that libvirt refuses: leave out slashes and line breaks", p.Name)
	}
}

// checkWords looks at what becomes a part of a URI, or is handed to libvirt as it is.
func (r *reader) checkWords(p Params) {
	if !slices.Contains(transports, p.Transport) {
		what := "is unknown"
		if p.Transport == "ext" {
			what = "runs a program"
		}
		r.bad("migration_transport", "migration_transport=%q %s: use one of %s, or leave it unset",
			p.Transport, what, strings.Join(transports[1:], ", "))
	}
	if p.User != "" && !userPattern.MatchString(p.User) {
		r.bad("migration_user", "migration_user=%q cannot be used: use lower case letters, digits and dashes, "+
			"beginning with a letter", p.User)
	}
	if p.Suffix != "" && !IsHost("x"+p.Suffix) {
		r.bad("migration_network_suffix", "migration_network_suffix=%q cannot be part of a host name: "+
			"use letters, digits, dashes and dots", p.Suffix)
	}
	unknown := func(mode string) bool { return !slices.Contains(libvirt.ShutdownModes, mode) }
	if p.ShutdownMode != "" && slices.ContainsFunc(strings.Split(p.ShutdownMode, ","), unknown) {
		r.bad("shutdown_mode", "shutdown_mode=%q is unknown: use %s, or leave it unset",
			p.ShutdownMode, strings.Join(libvirt.ShutdownModes, ", "))
	}
}

// checkURIs looks at all parameters that are URIs, and at what is probed.
func (r *reader) checkURIs(p Params) {
	hostname, _ := os.Hostname()
	if why := checkHypervisor(p.Hypervisor, hostname, r.get("CRM_meta_on_node")); why != "" {
		r.bad("hypervisor", "hypervisor=%q %s", p.Hypervisor, why)
	}
	r.checkURI("migrate_options", p.Options.MigrateURI)
	for _, u := range metadata.Parameters() {
		if u.Kind == metadata.URI {
			r.checkURI(u.Name, r.get(u.Name))
		}
	}
	if len(p.Watch) > 0 {
		if err := (blackout.Config{Targets: p.Watch}).Validate(); err != nil {
			r.bad("watch", "watch cannot be used: %v", err)
		}
	}
}

func (r *reader) checkURI(name, uri string) {
	const hint = "write it like tcp://%n or qemu+tcp://%n/system"
	parsed, err := url.Parse(strings.ReplaceAll(uri, "%n", "node"))
	switch {
	case uri == "":
	case err != nil:
		r.bad(name, "%s=%q is no URI: %s", name, uri, hint)
	case parsed.Scheme == "":
		r.bad(name, "%s=%q names no scheme: %s", name, uri, hint)
	default:
		if err := libvirt.CheckURI(uri); err != nil {
			r.bad(name, "%s cannot be used: %v", name, err)
		}
	}
}

// checkPaths looks at all parameters that are paths.
func (r *reader) checkPaths() {
	for _, p := range metadata.Parameters() {
		switch value := r.get(p.Name); p.Kind {
		case metadata.Path:
			if value != "" && !filepath.IsAbs(value) {
				r.bad(p.Name, "%s=%q is not an absolute path: begin it with /", p.Name, value)
			}
		case metadata.Paths:
			for _, path := range strings.Fields(value) {
				if !filepath.IsAbs(path) {
					r.bad(p.Name, "%s names %q, which is not an absolute path: begin it with /", p.Name, path)
				}
			}
		}
	}
	for _, s := range strings.Fields(r.get("monitor_scripts")) {
		if strings.Contains(s, "/") && !filepath.IsAbs(s) {
			r.bad("monitor_scripts", "monitor_scripts names %q: give a full path, or the name of a program in PATH", s)
		}
	}
}

// checkPairs are parameters that are right alone and wrong together.
func (r *reader) checkPairs(p Params) {
	for _, c := range []struct {
		wrong      bool
		param, why string
	}{
		{p.Overlay.Stateless && p.Overlay.Backing == "", "stateless",
			"stateless is set without backingfile: set backingfile to the image that each start begins with"},
		{p.Overlay.Backing != "" && p.XMFile != "", "backingfile",
			"backingfile is for guests of config and not of xmfile: remove one of them"},
		{p.SaveConfig && p.XMFile != "", "save_config_on_stop",
			"save_config_on_stop would replace the xl configuration of xmfile by libvirt's XML: remove one of them, or use config"},
	} {
		if c.wrong {
			r.bad(c.param, "%s", c.why)
		}
	}
}

// checkSaving is for guests that may be saved instead of shut down. snapshot does so at each stop.
func (r *reader) checkSaving(p Params) {
	const forced = "force_stop is set (or shutdown_timeout is 0): a guest that is destroyed cannot be saved, so keep one of them"
	saves := p.MayUse(ladder.Save)
	if p.ForceStop && p.Snapshot != "" {
		r.bad("snapshot", "snapshot is set and %s", forced)
	}
	switch {
	case p.Snapshot != "" && p.SaveDir != "":
		r.bad("save_dir", "snapshot and save_dir are both set: keep snapshot to save the guest at each stop, "+
			"or save_dir with save in ladder to save it only when it cannot be moved")
	case saves && p.SavesTo() == "":
		r.bad("ladder", "ladder names save, and save_dir is not set: set save_dir to a directory that all nodes share")
	case saves && p.ForceStop:
		r.bad("ladder", "ladder names save and %s", forced)
	}
}

// checkDisks is for guests whose disks may be copied.
func (r *reader) checkDisks(p Params) {
	o := p.Options
	switch {
	case p.IsXen():
		r.bad("disks", "disks=%s is for guests of QEMU: Xen copies no disks, so use shared storage and leave disks unset",
			p.Disks)
	case o.CopyAll || o.CopyInc || len(o.Disks) > 0:
		r.bad("disks", "disks=%s and --copy-storage-all, --copy-storage-inc or --migrate-disks in migrate_options "+
			"are both set: keep one of them", p.Disks)
	case o.Tunnelled:
		r.bad("disks", "disks=%s and --tunnelled in migrate_options are both set: "+
			"libvirt copies no disks through its own connection, so remove one of them", p.Disks)
	}
}

// checkTLS is for guests whose memory is to be encrypted. libvirtd 11.3 crashes at a tunnelled migration with TLS, and
// QEMU 10.0 refuses TLS with zero-copy.
func (r *reader) checkTLS(p Params) {
	set := "migrate_options"
	if p.TLS {
		set = "migration_tls"
	}
	const tls = "QEMU's TLS (migration_tls, or --tls in migrate_options)"
	switch o := p.Options; {
	case !p.UsesTLS() && o.TLSDestination != "":
		r.bad(set, "--tls-destination in migrate_options has no effect without TLS: set migration_tls=yes, or remove it")
	case !p.UsesTLS():
	case p.IsXen():
		r.bad(set, "%s is for guests of QEMU, and Xen sends a guest's memory as it is: remove it, and use "+
			"migration_transport=ssh with migrate_options=--tunnelled, or a private network", tls)
	case o.Tunnelled:
		r.bad(set, "%s and --tunnelled are both set, at which libvirt's daemon crashes: remove --tunnelled", tls)
	case o.ZeroCopy:
		r.bad(set, "%s and --zerocopy are both set, which QEMU refuses: remove --zerocopy", tls)
	}
}
