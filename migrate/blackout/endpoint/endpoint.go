package endpoint

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
	UDP     = "udp"
	TCP     = "tcp"
	Connect = "connect"
	HTTP    = "http"
	HTTPS   = "https"
	DNS     = "dns"
	ICMP    = "icmp"
)

// forms are how a target of each scheme is written.
var forms = map[string]string{
	UDP:     "udp://HOST:PORT",
	TCP:     "tcp://HOST:PORT",
	Connect: "connect://HOST:PORT",
	HTTP:    "http://HOST[:PORT][/PATH]",
	HTTPS:   "https://HOST[:PORT][/PATH]",
	DNS:     "dns://SERVER[:PORT]/NAME[?type=AAAA]",
	ICMP:    "icmp://HOST",
}

// Known reports whether there are targets of a scheme.
func Known(scheme string) bool { return forms[scheme] != "" }

// Printable reports whether a target's name has no characters that may do something to a terminal.
func Printable(name string) bool {
	return !strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) })
}

// Endpoint is a parsed target.
type Endpoint struct {
	Name, Proto, Host string
	Port              uint16
	// Query is the DNS question, Kind its record type.
	Query string
	Kind  uint16
}

// Quick reports whether a probe costs a service next to nothing: such targets are probed
// every millisecond by default.
func (e Endpoint) Quick() bool { return e.Proto == UDP || e.Proto == TCP }

// Parse reads a target in one of its forms.
func Parse(name string) (Endpoint, error) {
	scheme, rest, ok := strings.Cut(name, "://")
	if !ok || !Known(scheme) {
		return Endpoint{}, fmt.Errorf("target %q does not start with udp://, tcp://, connect://, "+
			"http://, https://, dns:// or icmp://", name)
	}
	if !Printable(name) {
		return Endpoint{}, fmt.Errorf("target %q has unprintable characters", name)
	}
	e := Endpoint{Name: name, Proto: scheme}
	var err error
	switch scheme {
	case HTTP, HTTPS:
		err = e.parseURL()
	case DNS:
		err = e.parseDNS(rest)
	case ICMP:
		e.Host = strings.Trim(rest, "[]")
		if e.Host == "" || strings.ContainsAny(e.Host, "/?#[] \n") {
			err = malformed(name, scheme)
		}
	default:
		err = e.split(rest)
	}
	if err != nil {
		return Endpoint{}, err
	}
	return e, nil
}

func malformed(name, scheme string) error {
	return fmt.Errorf("target %q is not %s", name, forms[scheme])
}

// split takes HOST:PORT apart.
func (e *Endpoint) split(rest string) error {
	host, port, err := net.SplitHostPort(rest)
	if err != nil || host == "" {
		return malformed(e.Name, e.Proto)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return fmt.Errorf("target %q: port %q is not between 1 and 65535", e.Name, port)
	}
	e.Host, e.Port = host, uint16(n)
	return nil
}

func (e *Endpoint) parseURL() error {
	u, err := url.Parse(e.Name)
	if err != nil || u.Hostname() == "" {
		return malformed(e.Name, e.Proto)
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{HTTP: "80", HTTPS: "443"}[e.Proto]
	}
	return e.split(net.JoinHostPort(u.Hostname(), port))
}

// recordTypes are the DNS questions that can be asked (RFC 1035, RFC 3596).
var recordTypes = map[string]uint16{
	"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "SRV": 33,
}

func (e *Endpoint) parseDNS(rest string) error {
	server, question, ok := strings.Cut(rest, "/")
	if !ok || question == "" {
		return malformed(e.Name, e.Proto)
	}
	var kind string
	e.Query, kind, ok = strings.Cut(question, "?type=")
	if !ok {
		kind = "A"
	}
	if e.Kind = recordTypes[strings.ToUpper(kind)]; e.Kind == 0 {
		return fmt.Errorf("target %q: unknown record type %q", e.Name, kind)
	}
	if _, err := wire.EncodeName(nil, e.Query); err != nil {
		return fmt.Errorf("target %q: %w", e.Name, err)
	}
	if _, _, err := net.SplitHostPort(server); err != nil {
		server = net.JoinHostPort(strings.Trim(server, "[]"), "53")
	}
	return e.split(server)
}
