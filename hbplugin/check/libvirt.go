package check

import (
	"fmt"
	"strings"

	"github.com/vmferry/vmferry/hbplugin/verdict"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/shellword"
)

// libvirts: does each libvirt of this node that is in use answer?
func libvirts(o *Observed, f *findings) {
	for _, uri := range o.URIs {
		if err := o.Unanswered[uri]; err != nil {
			f.add(uri, Problem, "does not answer: "+verdict.OneLine(err), o.startLibvirt(uri))
			continue
		}
		n := 0
		for _, g := range o.Guests {
			if g.URI == uri && g.IsActive() {
				n++
			}
		}
		f.add(uri, OK, fmt.Sprintf("answers, %s active", verdict.Count(n, "guest")), "")
	}
}

// startLibvirt says how to get a libvirt to answer: by the daemon whose socket is
// enabled, else by the monolithic one, else by the modular one. One that is active
// and mute hangs.
func (o *Observed) startLibvirt(uri string) string {
	start, daemons := "", daemonsOf(uri)
	for _, name := range daemons {
		socket, service := o.Units[name+".socket"], o.Units[name+".service"]
		switch {
		case socket.err != nil:
			return "type: systemctl status libvirtd " + daemons[0]
		case service.err == nil && service.value.Active:
			return "type: systemctl restart " + name + " (guests keep running)"
		case socket.value.Loaded && socket.value.Enabled:
			return "type: systemctl start " + name + ".socket"
		case socket.value.Loaded:
			start = name
		}
	}
	if start == "" {
		return "libvirt's daemon is not installed: type: apt-get install libvirt-daemon-system"
	}
	return "type: systemctl enable --now " + start + ".socket"
}

// reach: does libvirt on each node that is up answer, over the transport
// that the guests' resources name?
func reach(o *Observed, f *findings) {
	for _, t := range o.Reach {
		switch {
		case t.route != nil:
			f.add(t.node, Problem, verdict.OneLine(t.route), "set the parameter remoteuri of resource "+t.resource)
		case t.err != nil:
			f.add(t.node, Problem, fmt.Sprintf("%s does not answer: %s", t.uri, verdict.OneLine(t.err)),
				howToReach(t.uri, t.node))
		case libvirt.Unverified(t.uri) != "":
			f.add(t.node, Warning, t.uri+" answers, and whether it is that node is not verified",
				"remove "+libvirt.Unverified(t.uri)+" from the URIs of resource "+t.resource)
		default:
			f.add(t.node, OK, t.uri+" answers", "")
		}
	}
}

// howToReach says what a transport needs at the other end.
func howToReach(uri, node string) string {
	scheme, _, _ := strings.Cut(uri, "://")
	_, transport, _ := strings.Cut(scheme, "+")
	switch transport {
	case "ssh":
		return "as root, type: " + shellword.Line("ssh", node, "true") + " (it must ask for no password); and on " +
			node + ": systemctl status libvirtd virtqemud"
	case "tcp":
		return "on " + node +
			", type: systemctl enable --now libvirtd-tcp.socket (modular daemons: virtproxyd-tcp.socket)"
	case "", "tls":
		return "on " + node +
			", type: systemctl enable --now libvirtd-tls.socket (modular daemons: virtproxyd-tls.socket), with " +
			"certificates; or set the resources' migration_transport"
	}
	return "see that libvirt on " + node + " listens for " + uri
}
