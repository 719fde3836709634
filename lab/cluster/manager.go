package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

// Manager is a cluster manager, as a scenario needs one. The nodes have two,
// and one of them at a time does the work.
type Manager interface {
	// Name is what reports call it.
	Name() string
	// Agents are those that can run guests under it.
	Agents() []Agent
	// Take gives the nodes to this manager: the other one is stopped, with
	// whatever it manages, and both nodes keep to that when they boot. It does
	// not wait for the new one ([Manager.AwaitOnline] does), and it changes
	// nothing where this manager is at work already. All nodes must be up.
	Take(ctx context.Context) error
	// AwaitOnline waits until the manager on each of the nodes sees all of them
	// as members. progress gets what is still missing.
	AwaitOnline(ctx context.Context, progress func(string)) error
	// Online is nil when the manager on the named node sees all of the nodes as
	// members, and nothing changes hands.
	Online(ctx context.Context, name string) error
	// AddGuests has the manager run the guests with the given agent, first on
	// the named node. It returns when the manager knows them.
	AddGuests(ctx context.Context, agent Agent, guests []Guest, on string) error
	// RemoveGuests stops the guests and makes the manager forget them. via is
	// a member. Before the manager gets new ones, it must Take the nodes again.
	RemoveGuests(ctx context.Context, via string, guests []Guest) error
	// Holds is nil when the manager on the named node is sure that the guests
	// run there, and says otherwise what it believes.
	Holds(ctx context.Context, guests []Guest, name string) error
}

// Names of the managers, as reports have them.
const (
	PacemakerName = "pacemaker"
	HeartbeatName = "heartbeat"
)

// units are what each manager consists of.
var units = map[string][]string{
	PacemakerName: {"corosync.service", "pacemaker.service"},
	HeartbeatName: {"heartbeat.service"},
}

// Managers are both of the cluster's managers, in the order in which they are
// shown.
func (c *Cluster) Managers() []Manager { return []Manager{Pacemaker{c}, Heartbeat{c}} }

// take stops and masks the units of every other manager and starts those of
// the named one, on all nodes at once: a Pacemaker that starts alone shoots the
// node that it does not see. They are stopped before they are masked, as a
// masked unit has no order, and Pacemaker must not lose Corosync.
func (c *Cluster) take(ctx context.Context, name string) error {
	var others []string
	for other, list := range units {
		if other != name {
			others = append(others, list...)
		}
	}
	if c.has(ctx, units[name], others) {
		return nil // each step below takes seconds on nodes that are emulated
	}
	for _, step := range [][]string{
		slices.Concat([]string{"stop"}, others),
		slices.Concat([]string{"mask"}, others),
		slices.Concat([]string{"unmask"}, units[name]),
		slices.Concat([]string{"start", "--no-block"}, units[name]),
	} {
		if err := c.Everywhere(ctx, "systemctl", step...); err != nil {
			return fmt.Errorf("start %s on the nodes: %w", name, err)
		}
	}
	return nil
}

// has reports whether on all nodes the units of one manager are at work, and those of every
// other one are masked and at rest.
func (c *Cluster) has(ctx context.Context, own, others []string) bool {
	show := slices.Concat([]string{"show", "--property=Id,ActiveState,UnitFileState"}, own, others)
	for _, node := range c.Nodes {
		text, err := c.Run(ctx, node, "systemctl", show...)
		if err != nil || !atWork(unitStates(text), own, others) {
			return false
		}
	}
	return true
}

// atWork reports one node what has reports all.
func atWork(states map[string]map[string]string, own, others []string) bool {
	is := func(unit, state string, masked bool) bool {
		return states[unit]["ActiveState"] == state && (states[unit]["UnitFileState"] == "masked") == masked
	}
	return !slices.ContainsFunc(own, func(unit string) bool { return !is(unit, "active", false) }) &&
		!slices.ContainsFunc(others, func(unit string) bool { return !is(unit, "inactive", true) })
}

// unitStates reads what systemctl show reports several units: their properties by their
// names.
func unitStates(text string) map[string]map[string]string {
	states := map[string]map[string]string{}
	for block := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		properties := map[string]string{}
		for line := range strings.Lines(block) {
			if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
				properties[name] = value
			}
		}
		states[properties["Id"]] = properties
	}
	return states
}

// Everywhere runs a command on all nodes at once.
func (c *Cluster) Everywhere(ctx context.Context, program string, args ...string) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, name := range c.Nodes {
		group.Go(func() error {
			_, err := c.Run(ctx, name, program, args...)
			return err
		})
	}
	return group.Wait()
}

// Pacemaker is the manager that nodes have after their first boot: Pacemaker
// on Corosync, with fencing.
type Pacemaker struct{ *Cluster }

// Name is [PacemakerName].
func (Pacemaker) Name() string { return PacemakerName }

// Agents are vmferry's and the one that it is compared with.
func (p Pacemaker) Agents() []Agent { return []Agent{Ours, p.Hypervisor.Peer} }

// Take is as in [Manager].
func (p Pacemaker) Take(ctx context.Context) error { return p.take(ctx, PacemakerName) }

// Online is as in [Manager].
func (p Pacemaker) Online(ctx context.Context, name string) error {
	m, err := p.Monitor(ctx, name)
	if err == nil && !m.Ready(p.Nodes...) {
		err = fmt.Errorf("the nodes are not all members on node %q", name)
	}
	return err
}

// Holds is as in [Manager].
func (p Pacemaker) Holds(ctx context.Context, guests []Guest, name string) error {
	m, err := p.Monitor(ctx, name)
	if err != nil {
		return err
	}
	for _, g := range guests {
		r := m.Resources[g.Name]
		if r.Role != "Started" || len(r.On) != 1 || r.On[0] != name {
			return fmt.Errorf("guest %q is %s on %v", g.Name, r.Role, r.On)
		}
	}
	return nil
}
