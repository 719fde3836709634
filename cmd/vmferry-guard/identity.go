package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/config"
	"github.com/vmferry/vmferry/hbplugin/guard/device"
	"github.com/vmferry/vmferry/hbplugin/guard/host"
	"github.com/vmferry/vmferry/hbplugin/guard/lease"
	"github.com/vmferry/vmferry/hbplugin/guard/settings"
	"github.com/vmferry/vmferry/hbplugin/inventory"
	"github.com/vmferry/vmferry/hbplugin/managers"
	"github.com/vmferry/vmferry/hbplugin/pacemaker"
	"github.com/vmferry/vmferry/migrate/wait"
)

// readTime bounds the first read of the lease device.
const readTime = 30 * time.Second

// identity is which node of which cluster this is, and how it is set up.
type identity struct {
	settings settings.Settings
	general  config.Config
	header   lease.Header
	id       int
	instance lease.Instance
}

// identify reads the settings and the lease device.
func identify(ctx context.Context, path string) (*identity, error) {
	me := new(identity)
	var err error
	if me.settings, err = settings.Load(path); err != nil {
		return nil, misconfigured{err}
	}
	if me.general, err = config.LoadKnown(config.Path); err != nil {
		return nil, misconfigured{err}
	}
	if me.header, err = readHeader(ctx, me.settings.Device); err != nil {
		return nil, err
	}
	node := me.settings.Node
	if node == "" {
		all := inventory.Managers(ctx, managers.Configured(me.general))
		if node, err = inventory.NodeName(ctx, me.general.Node, all); err != nil {
			return nil, err
		}
	}
	if err := me.settings.Check(me.header, node); err != nil {
		return nil, misconfigured{err}
	}
	me.id = me.header.ID(node)
	me.instance, err = bootInstance()
	return me, err
}

func (me *identity) name() string { return me.header.Nodes[me.id-1] }

// readHeader reads the header of the lease device, in bounded time.
func readHeader(ctx context.Context, path string) (lease.Header, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, readTime, fmt.Errorf("no answer within %s", readTime))
	defer cancel()
	h, err := wait.Within(ctx, func() (lease.Header, error) {
		d, err := device.Open(path, false)
		if err != nil {
			return lease.Header{}, err
		}
		defer d.Close()
		return d.Header()
	}, nil)
	switch {
	case errors.Is(err, lease.ErrEmpty), errors.Is(err, lease.ErrForeign):
		return h, misconfigured{fmt.Errorf("%s: %w: type vmferry guard init", path, err)}
	case err != nil:
		return h, fmt.Errorf("lease device %s: %w", path, err)
	}
	return h, nil
}

// errReplaced is why the guard ends: "vmferry guard init" was typed while it ran.
var errReplaced = errors.New("the lease device was initialized again: the guard has to read its times and nodes")

// follow calls replaced when the lease device gets another identity, and then or at the end of ctx returns. Guards that
// go by different times take a lease for expired while its holder runs its guests.
func (me *identity) follow(ctx context.Context, replaced func()) {
	var d *device.Device
	for wait.For(ctx, me.header.Times.Renew) == nil {
		var err error
		if d == nil {
			if d, err = device.Open(me.settings.Device, false); err != nil {
				continue
			}
			defer d.Close()
		}
		if h, err := d.Header(); err == nil && h.Identity != me.header.Identity {
			replaced()
			return
		}
	}
}

// bootInstance tells this machine in this boot from every other: two machines may have been cloned, but no two boots have
// one boot_id.
func bootInstance() (i lease.Instance, err error) {
	machine, err := os.ReadFile("/etc/machine-id")
	if err != nil {
		return i, err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return i, err
	}
	sum := sha256.Sum256(append(bytes.TrimSpace(machine), bytes.TrimSpace(boot)...))
	copy(i[:], sum[:])
	return i, nil
}

// links are where this node's guard listens, and where the others do.
func (me *identity) links() (own netip.AddrPort, others map[int]netip.AddrPort) {
	others = map[int]netip.AddrPort{}
	for name, at := range me.settings.Link {
		if id := me.header.ID(name); id != me.id {
			others[id] = at
		} else {
			own = at
		}
	}
	return own, others
}

// members are the nodes that the cluster manager sees, with this one. Pacemaker is asked for Corosync's members: a node
// that joins again waits for its lease, and is no peer that can take guests before it has it.
func (me *identity) members(ctx context.Context) ([]string, error) {
	names := []string{me.name()}
	var errs []error
	for _, m := range managers.Configured(me.general) {
		seen, err := membersOf(ctx, m)
		if err == nil {
			return append(names, slices.DeleteFunc(seen, func(n string) bool { return n == me.name() })...), nil
		}
		errs = append(errs, err)
	}
	return names, errors.Join(errs...)
}

func membersOf(ctx context.Context, m hbplugin.Cluster) ([]string, error) {
	if p, ok := m.(*pacemaker.Client); ok {
		return p.Members(ctx)
	}
	peers, err := m.Peers(ctx)
	return hbplugin.Up(peers), err
}

// manager is the cluster manager that is restarted after a surrender.
func (me *identity) manager() host.Manager {
	if me.general.Manager == config.Heartbeat {
		return host.Heartbeat
	}
	return host.Pacemaker
}
