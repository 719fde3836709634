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
	"github.com/vmferry/vmferry/hbplugin/heartbeat"
	"github.com/vmferry/vmferry/hbplugin/inventory"
	"github.com/vmferry/vmferry/hbplugin/managers"
	"github.com/vmferry/vmferry/hbplugin/pacemaker"
	"github.com/vmferry/vmferry/migrate/wait"
)

// readTime bounds the first read of the lease device, and nameTime the question to the cluster manager for this node's
// name.
const (
	readTime = 30 * time.Second
	nameTime = 30 * time.Second
)

// identity is which node of which cluster this is, and how it is set up.
type identity struct {
	settings settings.Settings
	general  config.Config
	header   lease.Header
	id       int
	instance lease.Instance
	manager  host.Manager
	managers []hbplugin.Cluster
	watchdog *watchdog // nil: there is none
}

// clusters are the cluster managers of this node, which the settings of vmferryd choose.
func clusters(general config.Config) []hbplugin.Cluster {
	return managers.Select(general,
		&pacemaker.Client{Agents: general.Agents, Node: general.Node, Run: ask},
		&heartbeat.Client{Node: general.Node, Run: ask})
}

// identify reads the settings and the lease device. Where the settings do not name the node, the cluster managers are
// asked.
func identify(ctx context.Context, path string, clusters func(config.Config) []hbplugin.Cluster) (*identity, error) {
	me := new(identity)
	var err error
	if me.settings, err = settings.Load(path); err != nil {
		return nil, misconfigured{err}
	}
	if me.general, err = config.LoadKnown(config.Path); err != nil {
		return nil, misconfigured{err}
	}
	me.manager = managerOf(me.general.Manager, exists)
	me.managers = clusters(me.general)
	if me.header, err = readHeader(ctx, me.settings.Device); err != nil {
		return nil, err
	}
	node := me.settings.Node
	if node == "" {
		if node, err = me.ownName(ctx); err != nil {
			return nil, err
		}
	}
	err = me.settings.Check(me.header, node)
	switch {
	case err == nil:
	case me.settings.Node == "" && me.general.Node == "" && me.header.ID(node) == 0:
		// At boot the cluster manager does not run yet, and knows the node by another name than the host's, maybe.
		return nil, fmt.Errorf("%w; if the cluster calls this node otherwise, set node in %s", err, path)
	default:
		return nil, misconfigured{err}
	}
	me.id = me.header.ID(node)
	me.instance, err = bootInstance()
	return me, err
}

// ownName is what the cluster calls this node, or its host name, in bounded time.
func (me *identity) ownName(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, nameTime, fmt.Errorf("no answer within %s", nameTime))
	defer cancel()
	name, err := wait.Within(ctx, func() (string, error) {
		return inventory.NodeName(ctx, me.general.Node, inventory.Managers(ctx, me.managers))
	}, nil)
	if err != nil {
		return "", fmt.Errorf("ask the cluster manager for the name of this node: %w", err)
	}
	return name, nil
}

func (me *identity) name() string { return me.header.Nodes[me.id-1] }

// read reads of the lease device at path, in bounded time.
func read[T any](ctx context.Context, path string, what func(*device.Device) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, readTime, fmt.Errorf("no answer within %s", readTime))
	defer cancel()
	return wait.Within(ctx, func() (T, error) {
		d, err := device.Open(path, false)
		if err != nil {
			return *new(T), err
		}
		defer d.Close()
		return what(d)
	}, nil)
}

// mayBegin is the error of a guard that must not start yet.
func (me *identity) mayBegin(ctx context.Context, guests func(context.Context) (int, error)) error {
	slot, err := read(ctx, me.settings.Device, func(d *device.Device) (lease.Slot, error) { return d.Slot(me.id) })
	if err != nil {
		return fmt.Errorf("the slot of this node on %s: %w", me.settings.Device, err)
	}
	running, err := guests(ctx)
	if err != nil {
		return fmt.Errorf("list the guests of this node: %w", err)
	}
	return firstStart(slot.Generation, running)
}

// firstStart is the error of a guard on a node that has never held a lease, and runs guests: nobody has stopped them
// for the set-up, and a guard without a lease kills guests.
func firstStart(generation uint64, guests int) error {
	if generation > 0 || guests == 0 {
		return nil
	}
	return misconfigured{fmt.Errorf("%d guests run here, and this node has never held a lease: stop or move them, "+
		"then type systemctl start vmferry-guard", guests)}
}

// readHeader reads the header of the lease device.
func readHeader(ctx context.Context, path string) (lease.Header, error) {
	h, err := read(ctx, path, (*device.Device).Header)
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

// bootInstance tells this machine in this boot from every other: two machines may have been cloned, but no two boots
// have one boot_id.
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

// members are the nodes that the cluster manager sees, with this one. Of Pacemaker it takes Corosync's members: a node
// that joins again waits for its lease, and is no peer that can take guests before it has it.
func (me *identity) members(ctx context.Context) ([]string, error) {
	names := []string{me.name()}
	var errs []error
	for _, m := range me.managers {
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

// managerOf is the cluster manager that is restarted after a surrender. It is needed before one runs: where the
// configuration of vmferryd leaves it open, it is Heartbeat only where Heartbeat alone is set up.
func managerOf(configured string, exists func(path string) bool) host.Manager {
	if configured == config.Heartbeat ||
		configured == config.Auto && exists("/etc/ha.d/ha.cf") && !exists("/etc/corosync/corosync.conf") {
		return host.Heartbeat
	}
	return host.Pacemaker
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
