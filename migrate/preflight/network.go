package preflight

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"libvirt.org/go/libvirtxml"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/shellword"
)

// netDevices is the directory in which Linux has one entry for each device of its network, bridges included.
const netDevices = "/sys/class/net"

// uplink is what one network card of a guest is connected to on its host, by one of these.
type uplink struct {
	network, portGroup string // a network of libvirt's
	device, kind       string // a device of the host, and what it is for people
	hidden             bool   // no list of the host's devices has it
}

// uplinks lists them without repeats. guest is described as the target gets it: the live description of a card on
// a network has the bridge in its place.
func uplinks(guest *libvirtxml.Domain) []uplink {
	if guest.Devices == nil {
		return nil
	}
	var all []uplink
	for _, card := range guest.Devices.Interfaces {
		u := uplink{}
		switch s := card.Source; {
		case s == nil:
		case s.Network != nil:
			u = uplink{network: s.Network.Network, portGroup: s.Network.PortGroup}
		case s.Bridge != nil:
			u = uplink{device: s.Bridge.Bridge, kind: "bridge"}
		case s.Direct != nil:
			u = uplink{device: s.Direct.Dev, kind: "network device"}
		case s.VHostUser != nil && s.VHostUser.Chardev != nil && s.VHostUser.Chardev.UNIX != nil:
			u = uplink{device: s.VHostUser.Chardev.UNIX.Path, kind: "vhost-user socket", hidden: true}
		case s.VDPA != nil:
			u = uplink{device: s.VDPA.Device, kind: "vDPA device", hidden: true}
		case s.Ethernet != nil && card.Target != nil && card.Target.Managed == "no":
			u = uplink{device: card.Target.Dev, kind: "network device"}
		}
		if u != (uplink{}) && !slices.Contains(all, u) {
			all = append(all, u)
		}
	}
	return all
}

// devices are the names of those of a host's network, none where they could not be had.
type devices []string

// lacks reports whether it is certain that the host has none of that name: a list without the loopback device is no
// whole one.
func (d devices) lacks(name string) bool {
	return d.sure() && !slices.Contains(d, name)
}

// sure reports whether the list says anything of a device.
func (d devices) sure() bool { return slices.Contains(d, "lo") }

// judge says why the target's host cannot take a card on the device, or what is not known.
func (u uplink) judge(there devices) (notes []string, err error) {
	switch {
	case u.hidden || !there.sure():
		return []string{fmt.Sprintf("whether the target has the %s %q was not checked", u.kind, u.device)}, nil
	case there.lacks(u.device):
		return nil, &Refusal{CheckNetwork,
			fmt.Sprintf("the target has no %s %q, which the guest is connected to", u.kind, u.device),
			"make it there as it is here, or connect the guest to a network of libvirt's that both nodes have", nil}
	}
	return nil, nil
}

// bridged lists the devices of the host that a network needs and libvirt does not make itself: the bridge of mode
// bridge, or those of a pool, of which any will do. of is nil for one whose description cannot be read.
func bridged(of *libvirtxml.Network) (needs []uplink, anyOf []string) {
	if of == nil || of.Forward == nil {
		return nil, nil
	}
	switch of.Forward.Mode {
	case "bridge", "private", "vepa", "passthrough":
	default:
		return nil, nil
	}
	if of.Bridge != nil && of.Bridge.Name != "" {
		needs = append(needs, uplink{device: of.Bridge.Name, kind: "bridge"})
	}
	for _, i := range of.Forward.Interfaces {
		anyOf = append(anyOf, i.Dev)
	}
	if len(anyOf) == 0 && of.Forward.Dev != "" {
		anyOf = append(anyOf, of.Forward.Dev)
	}
	return needs, anyOf
}

// judgeNetwork says why the target cannot take a card on its network of that description, which is active, and what is
// to be known of it. here is the source's, nil where that is not known.
func (u uplink) judgeNetwork(there, here *libvirtxml.Network, d devices) (notes []string, err error) {
	needs, anyOf := bridged(there)
	for _, n := range needs {
		unknown, err := n.judge(d)
		var r *Refusal
		if errors.As(err, &r) {
			r.Reason = fmt.Sprintf("the target has the network %q, and not its bridge %q", u.network, n.device)
			return nil, r
		}
		notes = append(notes, unknown...)
	}
	if len(anyOf) > 0 && !slices.ContainsFunc(anyOf, func(dev string) bool { return !d.lacks(dev) }) {
		return nil, &Refusal{CheckNetwork,
			fmt.Sprintf("the target has the network %q, and none of its devices %q", u.network, anyOf),
			"give it devices that the target has: virsh net-edit " + shellword.Operands(u.network), nil}
	}
	named := func(g libvirtxml.NetworkPortGroup) bool { return g.Name == u.portGroup }
	if u.portGroup != "" && there != nil && !slices.ContainsFunc(there.PortGroups, named) {
		notes = append(notes, fmt.Sprintf("the target's network %q has no port group %q: the guest gets "+
			"the default one", u.network, u.portGroup))
	}
	if h, _ := bridged(here); len(needs) > 0 && len(h) > 0 && h[0].device != needs[0].device {
		notes = append(notes, fmt.Sprintf("the network %q is the bridge %q here, and %q at the target",
			u.network, h[0].device, needs[0].device))
	}
	return notes, nil
}

// checkNetworks wants what the guest's network cards are connected to at the target, too.
func checkNetworks(ctx context.Context, p *inspection) error {
	all := uplinks(p.found.Guest)
	if len(all) == 0 {
		return nil
	}
	d, err := p.target.Host.Names(ctx, netDevices)
	if err != nil {
		p.log.WithError(err).Info("the devices of the target's network are not known")
	}
	for _, u := range all {
		notes, err := checkUplink(ctx, p, u, d)
		var r *Refusal
		if errors.As(err, &r) && hooked(ctx, p) {
			notes, err = append(notes, r.Reason+", unless the hook script there makes it or names another"), nil
		}
		if err := p.conclude(notes, err); err != nil {
			return err
		}
	}
	return nil
}

// hooks are where libvirt's QEMU driver looks for scripts. It runs them before it connects a guest that arrives: they
// may make a device, or write another into the guest's description (libvirt's hooks page, "migrate begin").
const hooks = "/etc/libvirt/hooks"

// hooked reports whether the target has such a script.
func hooked(ctx context.Context, p *inspection) bool {
	names, err := p.target.Host.Names(ctx, hooks)
	return err == nil && (slices.Contains(names, "qemu") || slices.Contains(names, "qemu.d"))
}

// checkUplink asks both ends for a network, and lets the rule decide.
func checkUplink(ctx context.Context, p *inspection, u uplink, d devices) (notes []string, err error) {
	if u.network == "" {
		return u.judge(d)
	}
	there, err := p.target.Host.Network(ctx, u.network)
	at := "virsh -c " + shellword.Word(p.req.TargetURI)
	switch {
	case errors.Is(err, libvirt.ErrNoNetwork):
		return nil, &Refusal{CheckNetwork,
			fmt.Sprintf("the target has no network %q, which the guest is connected to", u.network),
			fmt.Sprintf("define it there as it is here: virsh net-dumpxml %s > net.xml; %s net-define net.xml; "+
				"%[2]s net-start %[1]s", shellword.Word(u.network), at), nil}
	case err != nil:
		return []string{fmt.Sprintf("whether the target has the network %q was not checked: %v", u.network, err)}, nil
	case !there.Active && !p.req.StartsNetworks:
		return nil, &Refusal{CheckNetwork,
			fmt.Sprintf("the target's network %q is not active, and the guest is connected to it", u.network),
			fmt.Sprintf("%s net-start %s; %[1]s net-autostart %[2]s", at, shellword.Word(u.network)), nil}
	}
	here, err := p.source.Host.Network(ctx, u.network)
	if err != nil {
		p.log.WithError(err).Infof("the network %q of the source is not known", u.network)
	}
	return u.judgeNetwork(parseNetwork(there.XML), parseNetwork(here.XML), d)
}

// parseNetwork is nil where the description cannot be read.
func parseNetwork(doc string) *libvirtxml.Network {
	n := &libvirtxml.Network{}
	if doc == "" || n.Unmarshal(doc) != nil {
		return nil
	}
	return n
}
