package param

import (
	"cmp"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

const (
	libvirtConf = "/etc/libvirt/libvirt.conf"
	systemURI   = "qemu:///system"
	xenURI      = "xen:///system"
)

var uriDefault = regexp.MustCompile(`(?m)^[ \t]*uri_default[ \t]*=[ \t]*["']([^"'\n]+)["']`)

// xenControl is a file that tells a Xen control domain (dom0), where libvirt's own default is Xen.
const xenControl = "/proc/xen/capabilities"

// DefaultURI is where "virsh uri" would connect: what the environment says, then
// uri_default of libvirt's client configuration conf, then this node's system daemon, which is Xen's in a dom0.
func DefaultURI(vars map[string]string, conf string) string {
	uri := cmp.Or(vars["VIRSH_DEFAULT_CONNECT_URI"], vars["LIBVIRT_DEFAULT_URI"])
	if uri == "" {
		// Most nodes have none, and an unreadable one is libvirt's to report.
		if raw, err := os.ReadFile(conf); err == nil {
			if m := uriDefault.FindSubmatch(raw); m != nil {
				uri = string(m[1])
			}
		}
	}
	if raw, err := os.ReadFile(xenControl); uri == "" && err == nil && strings.HasPrefix(string(raw), "control_d") {
		return xenURI
	}
	return cmp.Or(uri, systemURI)
}

// defaultHypervisor is where the guest of a call without a hypervisor runs: an xl configuration
// is for Xen, and all else goes by libvirt's default.
func defaultHypervisor(vars map[string]string) string {
	if vars[Prefix+"xmfile"] != "" {
		return xenURI
	}
	return DefaultURI(vars, libvirtConf)
}

// IsXen reports whether the guest is one of Xen's.
func (p Params) IsXen() bool { return libvirt.DriverOf(p.Hypervisor).IsXen() }

// checkHypervisor says what is wrong with the URI of the node's own libvirt, or "".
// A URI that leads to another machine is refused: the process witness sees this one only. So is one that runs a
// program.
func checkHypervisor(uri string, own ...string) string {
	const hint = "write it like " + systemURI + " or " + xenURI
	u, err := url.Parse(uri)
	if err != nil {
		return "is no URI: " + hint
	}
	if err := libvirt.CheckURI(uri); err != nil {
		return "cannot be used: " + err.Error()
	}
	name, _, _ := strings.Cut(u.Scheme, "+")
	paths := map[string][]string{"qemu": {"/system", "/session", "/embed"}, "xen": {"/system", "/"}}[name]
	switch {
	case name == "":
		return "names no driver: " + hint
	case paths == nil:
		return fmt.Sprintf("has the driver %q, and this agent manages guests of QEMU and Xen only: %s", name, hint)
	case !slices.Contains(paths, u.Path):
		return fmt.Sprintf("has the path %q instead of /system: %s", u.Path, hint)
	case !isLocal(u.Hostname(), own):
		return fmt.Sprintf("leads to the host %q, and the agent manages guests of its own node: %s", u.Hostname(), hint)
	}
	return ""
}

func isLocal(host string, own []string) bool {
	local := append([]string{"", "localhost", "127.0.0.1", "::1"}, own...)
	short, _, _ := strings.Cut(host, ".")
	return slices.ContainsFunc(local, func(name string) bool {
		first, _, _ := strings.Cut(name, ".")
		return host == name || short != "" && short == first
	})
}
