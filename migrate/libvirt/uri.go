package libvirt

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"unicode"
)

// transports are libvirt's ways to a daemon that run no program of the URI's choice. The one that is missing is ext.
var transports = []string{"tls", "unix", "ssh", "libssh2", "tcp", "libssh"}

// programs are the parameters of a URI by which libvirt runs a program of its choice: command here, and netcat on the
// host that ssh leads to.
var programs = []string{"command", "netcat"}

// CheckURI refuses a URI by which libvirt runs a program that the URI names, here or on the host that it leads to, and
// one whose host or user a program would take for an option. URIs come from a cluster's configuration, which people
// may edit who have no right to run programs as root. It is nil for text that is not a URI: libvirt refuses that
// itself.
//
// It reads a URI as libvirt does, or more strictly: parameters end at & and at ;, their names may be in any case and
// percent-encoded, and one with a NUL in it ends there; the transport may be in any case. What the parameter name holds
// is opened by the remote daemon, and is checked as well.
//
// Source: virURIParseParams (viruri.c), remoteSplitURIScheme (remote_sockets.c), doRemoteOpen (remote_driver.c).
func CheckURI(uri string) error {
	if strings.ContainsFunc(uri, unicode.IsControl) {
		return fmt.Errorf("the URI %q has a control character: remove it", uri)
	}
	scheme, rest, _ := strings.Cut(uri, ":")
	if _, transport, remote := strings.Cut(scheme, "+"); remote && rest != "" &&
		!slices.Contains(transports, strings.ToLower(transport)) {
		return fmt.Errorf("the URI %q has the transport %q: use one of %s", uri, strings.ToLower(transport),
			strings.Join(transports, ", "))
	}
	if err := checkAuthority(uri, rest); err != nil {
		return err
	}
	for _, p := range parametersOf(uri) {
		if slices.Contains(programs, p.name) {
			return fmt.Errorf("the URI %q has the parameter %q, by which libvirt runs a program: remove the parameter",
				uri, p.name)
		}
		if p.name == "name" {
			if err := CheckURI(p.value); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkAuthority looks at the user and the host, which may become words of the command line of ssh.
func checkAuthority(uri, rest string) error {
	authority, found := strings.CutPrefix(rest, "//")
	if !found {
		return nil
	}
	if end := strings.IndexAny(authority, "/?#"); end >= 0 {
		authority = authority[:end]
	}
	for part := range strings.SplitSeq(authority, "@") {
		switch part = unescape(part); {
		case strings.HasPrefix(part, "-"):
			return fmt.Errorf("the URI %q has the user or host %q, which begins with a dash: correct it", uri, part)
		case strings.ContainsFunc(part, unicode.IsControl):
			return fmt.Errorf("the URI %q has a control character in its user or host: remove it", uri)
		}
	}
	return nil
}

// Unverified names the parameter of a URI, with its value, by which libvirt does not verify whom it connects to; "" for
// none.
func Unverified(uri string) string {
	for _, p := range parametersOf(uri) {
		switch {
		case p.name == "no_verify" && strings.TrimLeft(p.value, "0") != "",
			p.name == "known_hosts_verify" && p.value == "ignore":
			return p.name + "=" + p.value
		}
	}
	return ""
}

// Encrypted reports whether what goes through libvirt's own connection at a remote URI is encrypted. Without a
// transport it is TLS.
func Encrypted(uri string) bool {
	scheme, _, _ := strings.Cut(uri, ":")
	_, transport, _ := strings.Cut(scheme, "+")
	return slices.Contains([]string{"tls", "ssh", "libssh", "libssh2"}, cmp.Or(strings.ToLower(transport), "tls"))
}

type parameter struct{ name, value string }

// parametersOf are those of a URI, with their names in lower case.
func parametersOf(uri string) (all []parameter) {
	uri, _, _ = strings.Cut(uri, "#")
	_, query, _ := strings.Cut(uri, "?")
	for _, section := range strings.FieldsFunc(query, func(r rune) bool { return r == '&' || r == ';' }) {
		name, value, _ := strings.Cut(section, "=")
		all = append(all, parameter{strings.ToLower(unescape(name)), unescape(value)})
	}
	return all
}

// unescape decodes what is percent-encoded up to the first NUL, where a string of C ends. What is wrongly encoded
// stands for itself.
func unescape(text string) string {
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '%' && i+3 <= len(text) {
			if c, err := url.PathUnescape(text[i : i+3]); err == nil {
				out.WriteString(c)
				i += 2
				continue
			}
		}
		out.WriteByte(text[i])
	}
	decoded, _, _ := strings.Cut(out.String(), "\x00")
	return decoded
}

// ports are those to which libvirt connects where the URI names none, by transport. With ssh its own configuration
// chooses (Port, ProxyJump).
var ports = map[string]string{"tcp": "16509", "tls": "16514", "ssh": "", "libssh": "", "libssh2": ""}

// Dialed is the host and port, as [net.Dial] takes them for TCP, to which libvirt connects for a URI. It is empty where
// there is none, the libvirt of this host, a socket, or text that is not a URI, and where ssh chooses.
func Dialed(uri string) string {
	u, err := url.Parse(uri)
	if err != nil || u.Hostname() == "" {
		return ""
	}
	_, transport, _ := strings.Cut(strings.ToLower(u.Scheme), "+")
	port, known := ports[cmp.Or(transport, "tls")]
	if port = cmp.Or(u.Port(), port); !known || port == "" {
		return ""
	}
	return net.JoinHostPort(u.Hostname(), port)
}
