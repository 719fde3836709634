package resource

import (
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/blackout"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/route"
)

// transports are libvirt's ways to another host (libvirt's uri page), but for ext, which runs a program.
var transports = []string{"", "ssh", "tcp", "tls", "libssh", "libssh2"}

// check looks at values, and at pairs that contradict each other.
func (r *reader) check(p Params) {
	r.checkFile(p)
	hostname, _ := os.Hostname()
	if why := checkHypervisor(p.Hypervisor, hostname, r.get("CRM_meta_on_node")); why != "" {
		r.bad("hypervisor", "hypervisor=%q %s", p.Hypervisor, why)
	}
	if !slices.Contains(transports, p.Transport) {
		what := "is unknown"
		if p.Transport == "ext" {
			what = "runs a program"
		}
		r.bad("migration_transport", "migration_transport=%q %s: use one of %s, or leave it unset",
			p.Transport, what, strings.Join(transports[1:], ", "))
	}
	if p.User != "" && !route.IsUser(p.User) {
		r.bad("migration_user", "migration_user=%q cannot be used: use lower case letters, digits and dashes, beginning with a letter", p.User)
	}
	if p.Suffix != "" && !route.IsHost("x"+p.Suffix) {
		r.bad("migration_network_suffix", "migration_network_suffix=%q cannot be part of a host name: use letters, digits, dashes and dots", p.Suffix)
	}
	for mode := range strings.SplitSeq(p.ShutdownMode, ",") {
		if p.ShutdownMode != "" && !slices.Contains(libvirt.ShutdownModes, mode) {
			r.bad("shutdown_mode", "shutdown_mode=%q is unknown: use %s, or leave it unset", p.ShutdownMode, strings.Join(libvirt.ShutdownModes, ", "))
			break
		}
	}
	r.checkURIs(p)
	r.checkPaths(p)
	r.checkPairs(p)
	r.checkLadder(p)
}

// checkFile wants one of the two files that can describe a guest.
func (r *reader) checkFile(p Params) {
	switch {
	case p.Config != "" && p.XMFile != "":
		r.bad("config", "config and xmfile are both set: keep config for a libvirt XML file, or xmfile for an xl configuration")
	case p.Config == "" && p.XMFile == "":
		r.bad("config", "config is not set: set it to the path of the guest's libvirt XML file")
	case p.Config != "" && !filepath.IsAbs(p.Config):
		r.bad("config", "config=%q is not an absolute path: begin it with /", p.Config)
	case p.XMFile != "" && !filepath.IsAbs(p.XMFile):
		r.bad("xmfile", "xmfile=%q is not an absolute path: begin it with /", p.XMFile)
	}
	if p.Name != "" && !validName(p.Name) {
		r.bad("name", "name=%q is one that libvirt refuses: leave out slashes and line breaks", p.Name)
	}
}

func (r *reader) checkURIs(p Params) {
	for _, u := range []struct{ param, value string }{
		{"migrateuri", p.MigrateURI}, {"migrate_options", p.Options.MigrateURI}, {"remoteuri", p.RemoteURI},
	} {
		parsed, err := url.Parse(strings.ReplaceAll(u.value, "%n", "node"))
		switch {
		case u.value == "":
		case err != nil:
			r.bad(u.param, "%s=%q is no URI: write it like tcp://%%n or qemu+tcp://%%n/system", u.param, u.value)
		case parsed.Scheme == "":
			r.bad(u.param, "%s=%q names no scheme: write it like tcp://%%n or qemu+tcp://%%n/system", u.param, u.value)
		default:
			if err := libvirt.CheckURI(u.value); err != nil {
				r.bad(u.param, "%s cannot be used: %v", u.param, err)
			}
		}
	}
	if len(p.Watch) > 0 {
		if err := (blackout.Config{Targets: p.Watch}).Validate(); err != nil {
			r.bad("watch", "watch cannot be used: %v", err)
		}
	}
}

func (r *reader) checkPaths(p Params) {
	for _, f := range []struct{ param, value string }{{"snapshot", p.Snapshot}, {"save_dir", p.SaveDir}, {"backingfile", p.Overlay.Backing}} {
		if f.value != "" && !filepath.IsAbs(f.value) {
			r.bad(f.param, "%s=%q is not an absolute path: begin it with /", f.param, f.value)
		}
	}
	for _, f := range p.Overlay.CopyIn {
		if !filepath.IsAbs(f) {
			r.bad("copyindirs", "copyindirs names %q, which is not an absolute path: begin it with /", f)
		}
	}
	for _, s := range p.Scripts {
		if strings.Contains(s, "/") && !filepath.IsAbs(s) {
			r.bad("monitor_scripts", "monitor_scripts names %q: give a full path, or the name of a program in PATH", s)
		}
	}
}

// checkDisks is for guests whose disks may be copied.
func (r *reader) checkDisks(p Params) {
	switch {
	case p.IsXen():
		r.bad("disks", "disks=%s is for guests of QEMU: Xen copies no disks, so put them on shared storage and leave disks unset", p.Disks)
	case p.Options.CopyAll || p.Options.CopyInc || len(p.Options.Disks) > 0:
		r.bad("disks", "disks=%s and --copy-storage-all, --copy-storage-inc or --migrate-disks in migrate_options are both set: keep one of them", p.Disks)
	case p.Options.Tunnelled:
		r.bad("disks", "disks=%s and --tunnelled in migrate_options are both set: libvirt copies no disks through its own connection, so remove one of them", p.Disks)
	}
}

// checkPairs are parameters that are right alone and wrong together.
func (r *reader) checkPairs(p Params) {
	if p.ForceStop && p.Snapshot != "" {
		r.bad("snapshot", "snapshot and force_stop are both set (or shutdown_timeout is 0): a guest that is destroyed cannot be saved, so keep one of them")
	}
	if p.Overlay.Stateless && p.Overlay.Backing == "" {
		r.bad("stateless", "stateless is set without backingfile: set backingfile to the image that each start begins with")
	}
	if p.Overlay.Backing != "" && p.XMFile != "" {
		r.bad("backingfile", "backingfile is for guests of config and not of xmfile: remove one of them")
	}
	if p.Disks != migrate.DisksShared {
		r.checkDisks(p)
	}
	r.checkTLS(p)
	if p.SaveConfig && p.XMFile != "" {
		r.bad("save_config_on_stop", "save_config_on_stop would put libvirt's XML in place of the xl configuration of xmfile: remove one of them, or use config")
	}
}

// checkTLS is for guests whose memory is to be encrypted. libvirtd 11.3 crashes at a tunnelled migration with TLS, and
// QEMU 10.0 refuses TLS with zero-copy.
func (r *reader) checkTLS(p Params) {
	asked := "migrate_options"
	if p.TLS {
		asked = "migration_tls"
	}
	const hint = "QEMU's TLS (migration_tls, or --tls in migrate_options)"
	switch o := p.Options; {
	case !p.UsesTLS() && o.TLSDestination != "":
		r.bad(asked, "--tls-destination in migrate_options has no effect without TLS: set migration_tls=yes, or remove it")
	case !p.UsesTLS():
	case p.IsXen():
		r.bad(asked, "%s is for guests of QEMU, and Xen sends a guest's memory as it is: remove it, and use "+
			"migration_transport=ssh with migrate_options=--tunnelled, or a private network", hint)
	case o.Tunnelled:
		r.bad(asked, "%s and --tunnelled are both set, at which libvirt's daemon crashes: remove --tunnelled", hint)
	case o.ZeroCopy:
		r.bad(asked, "%s and --zerocopy are both set, which QEMU refuses: remove --zerocopy", hint)
	}
}
