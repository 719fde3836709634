package blackout

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"unicode"

	"github.com/vmferry/vmferry/migrate/blackout/wire"
)

// The schemes of targets, which are the names of the modes in reports.
const (
	protoUDP     = "udp"
	protoTCP     = "tcp"
	protoConnect = "connect"
	protoHTTP    = "http"
	protoHTTPS   = "https"
	protoDNS     = "dns"
	protoICMP    = "icmp"
)

// protocols are all schemes, and the form that a target of each has.
var protocols = []struct{ scheme, form string }{
	{protoUDP, "udp://HOST:PORT"},
	{protoTCP, "tcp://HOST:PORT"},
	{protoConnect, "connect://HOST:PORT"},
	{protoHTTP, "http://HOST[:PORT][/PATH]"},
	{protoHTTPS, "https://HOST[:PORT][/PATH]"},
	{protoDNS, "dns://SERVER[:PORT]/NAME[?type=AAAA]"},
	{protoICMP, "icmp://HOST"},
}

func knownProto(scheme string) bool { return formOf(scheme) != "" }

// formOf returns how targets of a scheme are written, "" for an unknown one.
func formOf(scheme string) string {
	for _, p := range protocols {
		if p.scheme == scheme {
			return p.form
		}
	}
	return ""
}

// endpoint is a parsed target.
type endpoint struct {
	name, proto, host string
	port              uint16
	// query is the DNS question, kind its record type.
	query string
	kind  uint16
}

// quick tells the modes that cost a service next to nothing: these are probed
// every millisecond unless told otherwise.
func (e endpoint) quick() bool { return e.proto == protoUDP || e.proto == protoTCP }

// parseTarget reads a target in one of the forms of protocols.
func parseTarget(name string) (endpoint, error) {
	scheme, rest, ok := strings.Cut(name, "://")
	if !ok || !knownProto(scheme) {
		return endpoint{}, fmt.Errorf("target %q does not start with udp://, tcp://, connect://, http://, https://, dns:// or icmp://", name)
	}
	if strings.ContainsFunc(name, unprintable) {
		return endpoint{}, fmt.Errorf("target %q has characters that cannot be printed", name)
	}
	e := endpoint{name: name, proto: scheme}
	var err error
	switch scheme {
	case protoHTTP, protoHTTPS:
		err = e.parseURL()
	case protoDNS:
		err = e.parseDNS(rest)
	case protoICMP:
		e.host = strings.Trim(rest, "[]")
		if e.host == "" || strings.ContainsAny(e.host, "/?#[] \n") {
			err = malformed(name, scheme)
		}
	default:
		err = e.split(rest)
	}
	if err != nil {
		return endpoint{}, err
	}
	return e, nil
}

// unprintable tells characters that may do something to a terminal.
func unprintable(r rune) bool { return !unicode.IsPrint(r) }

func malformed(name, scheme string) error {
	return fmt.Errorf("target %q is not %s", name, formOf(scheme))
}

// split takes HOST:PORT apart.
func (e *endpoint) split(rest string) error {
	host, port, err := net.SplitHostPort(rest)
	if err != nil || host == "" {
		return malformed(e.name, e.proto)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return fmt.Errorf("target %q: port %q is not between 1 and 65535", e.name, port)
	}
	e.host, e.port = host, uint16(n)
	return nil
}

func (e *endpoint) parseURL() error {
	u, err := url.Parse(e.name)
	if err != nil || u.Hostname() == "" {
		return malformed(e.name, e.proto)
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{protoHTTP: "80", protoHTTPS: "443"}[e.proto]
	}
	return e.split(net.JoinHostPort(u.Hostname(), port))
}

// recordTypes are the DNS questions that can be asked (RFC 1035, RFC 3596).
var recordTypes = map[string]uint16{"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "SRV": 33}

func (e *endpoint) parseDNS(rest string) error {
	server, question, ok := strings.Cut(rest, "/")
	if !ok || question == "" {
		return malformed(e.name, e.proto)
	}
	var kind string
	e.query, kind, ok = strings.Cut(question, "?type=")
	if !ok {
		kind = "A"
	}
	if e.kind = recordTypes[strings.ToUpper(kind)]; e.kind == 0 {
		return fmt.Errorf("target %q: record type %q is not known", e.name, kind)
	}
	if _, err := wire.EncodeName(nil, e.query); err != nil {
		return fmt.Errorf("target %q: %w", e.name, err)
	}
	if _, _, err := net.SplitHostPort(server); err != nil {
		server = net.JoinHostPort(strings.Trim(server, "[]"), "53")
	}
	return e.split(server)
}
