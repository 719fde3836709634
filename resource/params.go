package resource

import (
	"cmp"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Params are the resource's parameters, named and meant as those of
// ocf:heartbeat:VirtualDomain. meta-data.xml documents each.
type Params struct {
	Config       string        // config: path of the domain XML
	Hypervisor   string        // hypervisor: URI of this node's libvirt, never empty
	ForceStop    bool          // force_stop
	Transport    string        // migration_transport
	User         string        // migration_user
	Downtime     time.Duration // migration_downtime; 0 leaves QEMU's default
	Speed        uint64        // migration_speed in MiB/s; 0 leaves libvirt's default
	Suffix       string        // migration_network_suffix
	MigrateURI   string        // migrateuri, with %n in it
	RemoteURI    string        // remoteuri, with %n in it
	ShutdownMode string        // shutdown_mode: empty, "acpi" or "agent"
}

// Problem is a parameter whose value cannot be used.
type Problem struct {
	Param string
	Err   *Error
}

// transports are libvirt's ways to another host (libvirt's uri page).
var transports = []string{"", "ssh", "tcp", "tls", "libssh", "libssh2", "ext"}

var userPattern = regexp.MustCompile(`^[a-z][-a-z0-9]*$`)

func parseParams(vars map[string]string) (Params, []Problem) {
	r := reader{vars: vars}
	p := Params{
		Config:       r.get("config"),
		Hypervisor:   cmp.Or(r.get("hypervisor"), DefaultURI(vars, libvirtConf)),
		ForceStop:    r.boolean("force_stop"),
		Transport:    r.get("migration_transport"),
		User:         r.get("migration_user"),
		Downtime:     time.Duration(r.number("migration_downtime", "milliseconds")) * time.Millisecond,
		Speed:        r.number("migration_speed", "MiB/s"),
		Suffix:       r.get("migration_network_suffix"),
		MigrateURI:   r.get("migrateuri"),
		RemoteURI:    r.get("remoteuri"),
		ShutdownMode: r.get("shutdown_mode"),
	}
	r.check(p)
	return p, r.problems
}

// reader takes parameters out of the environment and collects what is wrong with them.
type reader struct {
	vars     map[string]string
	problems []Problem
}

func (r *reader) get(name string) string { return r.vars[reskey+name] }

func (r *reader) bad(param, format string, args ...any) {
	r.problems = append(r.problems, Problem{param, fail(Configured, format, args...)})
}

// maxNumber keeps milliseconds in a Duration and MiB in 64 bits of bytes.
const maxNumber = 1 << 40

func (r *reader) number(name, unit string) uint64 {
	s := r.get(name)
	if s == "" {
		return 0
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n > maxNumber {
		r.bad(name, "%s=%q is not a number: give whole %s, or 0 for the default", name, s, unit)
		return 0
	}
	return n
}

// The words are those of ocf_is_true; what it takes for false must at least look like it.
var (
	trueWords  = []string{"yes", "true", "1", "YES", "TRUE", "True", "ja", "on", "ON"}
	falseWords = []string{"", "no", "false", "0", "NO", "FALSE", "False", "nein", "off", "OFF"}
)

func (r *reader) boolean(name string) bool {
	s := r.get(name)
	if !slices.Contains(trueWords, s) && !slices.Contains(falseWords, s) {
		r.bad(name, "%s=%q is neither true nor false: set it to true or false", name, s)
	}
	return slices.Contains(trueWords, s)
}

func (r *reader) check(p Params) {
	switch {
	case p.Config == "":
		r.bad("config", "config is not set: set it to the path of the guest's libvirt XML file")
	case !filepath.IsAbs(p.Config):
		r.bad("config", "config=%q is not an absolute path: begin it with /", p.Config)
	}
	hostname, _ := os.Hostname()
	if why := checkHypervisor(p.Hypervisor, hostname, r.get("CRM_meta_on_node")); why != "" {
		r.bad("hypervisor", "hypervisor=%q %s", p.Hypervisor, why)
	}
	if !slices.Contains(transports, p.Transport) {
		r.bad("migration_transport", "migration_transport=%q is unknown: use one of %s, or leave it unset",
			p.Transport, strings.Join(transports[1:], ", "))
	}
	if p.User != "" && !userPattern.MatchString(p.User) {
		r.bad("migration_user", "migration_user=%q cannot be used: use lower case letters, digits and dashes, beginning with a letter", p.User)
	}
	if strings.ContainsAny(p.Suffix, "/:@?# \t\n") {
		r.bad("migration_network_suffix", "migration_network_suffix=%q cannot be part of a host name: use letters, digits, dashes and dots", p.Suffix)
	}
	if !slices.Contains([]string{"", "acpi", "agent"}, p.ShutdownMode) {
		r.bad("shutdown_mode", "shutdown_mode=%q is unknown: use acpi or agent, or leave it unset", p.ShutdownMode)
	}
	r.checkURIs(p)
}

func (r *reader) checkURIs(p Params) {
	for _, u := range []struct{ param, value string }{{"migrateuri", p.MigrateURI}, {"remoteuri", p.RemoteURI}} {
		parsed, err := url.Parse(strings.ReplaceAll(u.value, "%n", "node"))
		switch {
		case u.value == "":
		case err != nil:
			r.bad(u.param, "%s=%q is no URI: write it like tcp://%%n or qemu+tcp://%%n/system", u.param, u.value)
		case parsed.Scheme == "":
			r.bad(u.param, "%s=%q names no scheme: write it like tcp://%%n or qemu+tcp://%%n/system", u.param, u.value)
		}
	}
}

// known are the parameters that Params holds.
var known = []string{"config", "hypervisor", "force_stop", "migration_transport", "migration_user", "migration_downtime",
	"migration_speed", "migration_network_suffix", "migrateuri", "remoteuri", "shutdown_mode"}

// refused are VirtualDomain's parameters that change what a start starts or what a stop
// keeps. To go on without them would lose data, so they are errors and not merely ignored.
var refused = []string{"snapshot", "backingfile", "stateless", "copyindirs"}

// ignored names the parameters that are set and mean nothing here, sorted. Names that
// a manager or a tracer adds are no parameters.
func ignored(vars map[string]string) []string {
	var names []string
	for _, v := range slices.Sorted(maps.Keys(vars)) {
		name, ok := strings.CutPrefix(v, reskey)
		meta := strings.HasPrefix(name, "CRM_") || strings.HasPrefix(name, "trace_") || name == "crm_feature_set"
		if ok && !meta && vars[v] != "" && !slices.Contains(known, name) {
			names = append(names, name)
		}
	}
	return names
}

// needs names the parameters that an action cannot do without; nil means all. A stop must not
// fail, and a guest must not count as failed, because of a typing error in a
// parameter that only matters for a migration.
func needs(action string) []string {
	switch action {
	case "stop", "monitor", "status":
		return []string{"config", "hypervisor"}
	}
	return nil
}

// check returns the first problem that concerns the action.
func (e Environ) check(action string) error {
	for _, p := range e.Problems {
		if need := needs(action); need == nil || slices.Contains(need, p.Param) {
			return p.Err
		}
	}
	for _, name := range e.Ignored {
		if needs(action) == nil && slices.Contains(refused, name) {
			return fail(Configured, "parameter %q is not supported by this agent: remove it, or keep ocf:heartbeat:VirtualDomain for this guest", name)
		}
	}
	return nil
}
