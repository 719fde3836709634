package nodes

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/settings"
	"github.com/vmferry/vmferry/hbplugin/guard/timing"
	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/lab/guest"
	"github.com/vmferry/vmferry/lab/guest/ledger"
	"github.com/vmferry/vmferry/lab/scenario"
	"github.com/vmferry/vmferry/lab/supervisor"
	"github.com/vmferry/vmferry/lab/torture"
)

// World is a running lab. It must be used within [scenario.Runner.Run], whose observer sees the copies of the guests.
// All fields are needed.
type World struct {
	Runner *scenario.Runner // with the guests, of which each has a ledger
	// Addresses are what Gateway and Storage lead to; a way that has none cannot be cut.
	Addresses map[torture.Way][]string
	// Image is the path of a guest's disk image on the storage's side.
	Image func(guest string) string
	// Bounds are those of the guard's configuration.
	Bounds timing.Bounds

	mu     sync.Mutex
	hung   []scenario.Bar
	filled map[string]bool // nodes whose disk was filled, and maybe not freed: they crashed meanwhile
}

var _ torture.World = (*World)(nil)

// What guests in this lab may take beyond the guard's bounds: they are emulated, on two processors for all.
const (
	blip     = 5 * time.Second  // a live move, as clients see it
	restart  = 30 * time.Second // an interval of the monitor, a stop and the begin of a start
	comeback = 2 * time.Minute  // a node boots, joins and has its lease
	askTime  = 2 * time.Second  // for one question to a guest
)

func (w *World) cluster() *cluster.Cluster { return w.Runner.Cluster }

// Prepare makes each node the home of some guests, starts them and the bystanders, and measures how long the guests
// take to boot. Twice that is what a recovery may take for it: a node may boot beside them.
func (w *World) Prepare(ctx context.Context) ([]string, torture.Limits, error) {
	if err := w.Runner.Take(ctx); err != nil {
		return nil, torture.Limits{}, err
	}
	begun := time.Now()
	var names []string
	for i, g := range w.Runner.Guests {
		home := w.cluster().Nodes[i%len(w.cluster().Nodes)]
		if err := w.cluster().AddGuests(ctx, cluster.Ours, []cluster.Guest{g.Guest}, home); err != nil {
			return nil, torture.Limits{}, err
		}
		// So that guests return when their home is back, and both nodes have some.
		if err := w.anywhere(ctx, "crm_resource", "--resource="+g.Name, "--meta", "--set-parameter=resource-stickiness",
			"--parameter-value=0"); err != nil {
			return nil, torture.Limits{}, err
		}
		names = append(names, g.Name)
	}
	if err := w.awaitAnswers(ctx); err != nil {
		return nil, torture.Limits{}, err
	}
	return names, Limits(w.Bounds, 2*time.Since(begun)), w.Renew(ctx)
}

// awaitAnswers waits until all guests answer.
func (w *World) awaitAnswers(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, comeback, errors.New("the guests did not start"))
	defer cancel()
	return cluster.Await(ctx, "every guest to answer", func(ctx context.Context) (bool, error) {
		for _, g := range w.Runner.Guests {
			if _, err := w.Status(ctx, g.Name); err != nil {
				return false, err
			}
		}
		return true, nil
	})
}

// Limits are what recoveries may take in this lab with these bounds of the guard, where guests take boot to start and
// answer.
func Limits(bounds timing.Bounds, boot time.Duration) torture.Limits {
	return torture.Limits{Guard: bounds, Boot: boot, Blip: blip, Restart: restart, Return: comeback}
}

// Service is as in [torture.World].
func (w *World) Service(name string) string { return w.at(name, ledger.Port) }

// at is the address of one of the guests with a port.
func (w *World) at(name string, port int) string {
	i := slices.IndexFunc(w.Runner.Guests, func(g scenario.Guest) bool { return g.Name == name })
	return net.JoinHostPort(w.Runner.Guests[i].Address, strconv.Itoa(port))
}

// Status is as in [torture.World].
func (w *World) Status(ctx context.Context, name string) (guest.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	return guest.Ask(ctx, w.at(name, guest.StatusPort))
}

func (w *World) ask(ctx context.Context, op supervisor.Op, node string) error {
	_, err := supervisor.Ask(ctx, w.cluster().Control, supervisor.Request{Op: op, Node: node})
	return err
}

// Crash is as in [torture.World].
func (w *World) Crash(ctx context.Context, node string) error {
	if err := w.up(ctx, node); err != nil {
		return err
	}
	if err := w.ask(ctx, supervisor.OpKill, node); err != nil {
		return err
	}
	// One that hung does not hang any more.
	if err := w.Wake(ctx, node); err != nil {
		return err
	}
	return w.ask(ctx, supervisor.OpOn, node)
}

// Hang is as in [torture.World].
func (w *World) Hang(ctx context.Context, node string) error {
	if err := w.up(ctx, node); err != nil {
		return err
	}
	if err := w.ask(ctx, supervisor.OpFreeze, node); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hung = append(w.hung, scenario.Bar{Node: node, From: time.Now()})
	return nil
}

// Wake is as in [torture.World].
func (w *World) Wake(ctx context.Context, node string) error {
	w.awake(node) // before it is true: what the node does in between counts
	return w.ask(ctx, supervisor.OpThaw, node)
}

// awake ends what is noted of a hang.
func (w *World) awake(node string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.hung {
		if b := &w.hung[i]; b.Node == node && b.To.IsZero() {
			b.To = time.Now()
		}
	}
}

// peers are the addresses of the other nodes.
func (w *World) peers(node string) (addresses []string) {
	for _, name := range w.cluster().Nodes {
		if name != node {
			addresses = append(addresses, w.cluster().Addresses[name])
		}
	}
	return addresses
}

// linkPorts are the UDP ports of Corosync and of the guard.
var linkPorts = []string{"--protocol=udp", "--match=multiport", "--dports=5405," + strconv.Itoa(settings.DefaultPort)}

// rules are the arguments of iptables(8), after the verb, for what cuts a node off on a way.
func (w *World) rules(node string, way torture.Way) (all [][]string) {
	addresses, ports := w.Addresses[way], []string(nil)
	switch way {
	case torture.Link, torture.Inward:
		addresses, ports = w.peers(node), linkPorts
	case torture.Network:
		addresses = w.peers(node)
	}
	for _, a := range addresses {
		all = append(all, slices.Concat([]string{"INPUT", "--source=" + a}, ports, []string{"--jump=DROP"}))
		if way != torture.Inward {
			all = append(all, slices.Concat([]string{"OUTPUT", "--destination=" + a}, ports, []string{"--jump=DROP"}))
		}
	}
	return all
}

// Cut is as in [torture.World].
func (w *World) Cut(ctx context.Context, node string, way torture.Way) error {
	rules := w.rules(node, way)
	if len(rules) == 0 {
		return fmt.Errorf("cut %s: nothing is reached over an address: %w", way, torture.ErrUnable)
	}
	for _, rule := range rules {
		if _, err := w.cluster().Run(ctx, node, "iptables",
			append([]string{"--wait", "--insert"}, rule...)...); err != nil {
			return err
		}
	}
	return nil
}

// Heal is as in [torture.World].
func (w *World) Heal(ctx context.Context, node string, way torture.Way) (err error) {
	for _, rule := range w.rules(node, way) {
		_, failed := w.cluster().Run(ctx, node, "iptables", append([]string{"--wait", "--delete"}, rule...)...)
		// A node that was down in between has no rules any more.
		if failed != nil && !errors.Is(failed, cluster.ErrDown) &&
			!strings.Contains(failed.Error(), "does a matching rule exist") {
			err = errors.Join(err, failed)
		}
	}
	return err
}

// up is an error of a node that is down.
func (w *World) up(ctx context.Context, node string) error {
	reply, err := w.cluster().State(ctx)
	if err == nil && reply.Nodes[node].Leader == 0 {
		err = fmt.Errorf("%s: %w", node, cluster.ErrDown)
	}
	return err
}

// Kill is as in [torture.World].
func (w *World) Kill(ctx context.Context, node string, what torture.Kind) error {
	if err := w.up(ctx, node); err != nil {
		return err
	}
	some, err := processes("/proc", node)
	if err != nil {
		return err
	}
	some = slices.DeleteFunc(some, func(p process) bool { return !victims[what](p) })
	if len(some) == 0 {
		return fmt.Errorf("%s: there is no such process on %s", what, node)
	}
	return kill(some)
}

// StepClock is as in [torture.World].
func (w *World) StepClock(context.Context, string, time.Duration) error {
	return fmt.Errorf("set a clock: the nodes share the one of this machine: %w", torture.ErrUnable)
}

// Reboot returns when the node boots again: before that, it may look like one that is well.
func (w *World) Reboot(ctx context.Context, node string) error {
	if err := w.up(ctx, node); err != nil {
		return err
	}
	boots, err := w.Runner.Boots(ctx, node)
	if err != nil {
		return err
	}
	// The command may end with the node, before it could say that it was carried out.
	_, _ = w.cluster().Run(ctx, node, "systemctl", "reboot", "--no-wall")
	ctx, cancel := context.WithTimeoutCause(ctx, comeback, errors.New("it did not go down"))
	defer cancel()
	return cluster.Await(ctx, node+" to boot again", func(ctx context.Context) (bool, error) {
		now, err := w.Runner.Boots(ctx, node)
		return now > boots, err
	})
}

// Seen is as in [torture.World].
func (w *World) Seen(ctx context.Context, guest string) ([]scenario.Copy, []scenario.Event, []scenario.Bar, error) {
	reply, err := w.cluster().State(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	copies, events := w.Runner.Seen(guest)
	w.mu.Lock()
	defer w.mu.Unlock()
	return copies, events, slices.Concat(w.hung, barsOf(reply.Access)), nil
}
