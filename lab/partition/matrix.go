package partition

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/lab/guest"
	"github.com/vmferry/vmferry/lab/scenario"
	"github.com/vmferry/vmferry/migrate/wait"
	"github.com/vmferry/vmferry/resource/notes"
)

// Matrix makes cuts on a lab that is up. It must run inside the lab's namespaces, within [scenario.Runner.Run].
type Matrix struct {
	*scenario.Runner
	Lease string // the path of the lease device, as this process sees it
	Homes []int  // the node of each guest; nil: each node is the home of one guest

	slots slots
}

func (m *Matrix) node(i int) string { return m.Cluster.Nodes[i] }

// home is the node on which a guest is unless a fault took it away.
func (m *Matrix) home(guest int) int {
	if m.Homes == nil {
		return guest
	}
	return m.Homes[guest]
}

// GuestsOf are the guests whose home is a node.
func (m *Matrix) GuestsOf(node int) (guests []scenario.Guest) {
	for i, g := range m.Guests {
		if m.home(i) == node {
			guests = append(guests, g)
		}
	}
	return guests
}

func (m *Matrix) address(i int) string { return m.Cluster.Addresses[m.node(i)] }

// pause waits.
func pause(ctx context.Context, d time.Duration) error { return wait.For(ctx, d) }

// chain is the packet filter's chain of the cuts.
const chain = "CUT"

// drop drops what matches, on its way in and out.
func (m *Matrix) drop(ctx context.Context, at []int, match func(node int) []string) error {
	for _, i := range at {
		args := append([]string{"--wait", "--append", chain}, match(i)...)
		if _, err := m.Cluster.Run(ctx, m.node(i), "iptables", append(args, "--jump=DROP")...); err != nil {
			return err
		}
	}
	return nil
}

// heal ends all cuts of packets.
func heal(ctx context.Context, m *Matrix) error {
	for _, name := range m.Cluster.Nodes {
		if _, err := m.Cluster.Run(ctx, name, "iptables", "--wait", "--flush", chain); err != nil {
			return err
		}
	}
	return nil
}

// bystander is a unit of systemd's that the cluster does not know.
const bystander = "vmferry-lab-bystander.service"

// outfit starts what a node needs for the matrix, where it is missing: after a crash all of it is. Both processes of the
// guard must be there.
const outfit = `
pgrep --full -- '` + guardProcess + `' >/dev/null && pgrep --full -- '` + secondProcess + `' >/dev/null || exit 1
iptables --wait --list CUT >/dev/null 2>&1 || {
  iptables --wait --new-chain CUT && iptables --wait --insert INPUT --jump CUT &&
  iptables --wait --insert OUTPUT --jump CUT; } || exit 1
systemctl is-active --quiet ` + bystander + ` || systemd-run --quiet --unit=` + bystander + ` sleep infinity`

// begin has the cluster manager run the guests.
func (m *Matrix) begin(ctx context.Context) error {
	_, err := m.Cluster.Run(ctx, m.node(0), "grep", "--quiet", stonithPlugin, haCf)
	isHeartbeat := err == nil
	switch h, ok := m.InCharge().(cluster.Heartbeat); {
	case ok && isHeartbeat:
		return nil
	case ok:
		return m.setUp(ctx, h)
	case isHeartbeat:
		return errors.New("the guards of this lab are set up for Heartbeat: end it with `vmferry-lab down` first")
	}
	return m.Place(ctx)
}

// Place has Pacemaker give each guest its home. Without Homes there must be as many guests as nodes.
func (m *Matrix) Place(ctx context.Context) error {
	for i, g := range m.Guests {
		if err := m.Cluster.AddGuests(ctx, cluster.Ours, []cluster.Guest{g.Guest}, m.node(m.home(i))); err != nil {
			return err
		}
		// Guests return to their home by themselves.
		if _, err := m.Cluster.Run(ctx, m.node(0), "crm_resource", "--resource="+g.Name, "--meta",
			"--set-parameter=resource-stickiness", "--parameter-value=0"); err != nil {
			return err
		}
	}
	return nil
}

// calmTime bounds the way back to where all began.
const calmTime = 2 * time.Minute

// calm waits until all is as it was at the beginning.
func (m *Matrix) calm(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, calmTime, errors.New("the cluster does not come to rest"))
	defer cancel()
	for _, name := range m.Cluster.Nodes {
		err := cluster.Await(ctx, "node "+name, func(ctx context.Context) (bool, error) {
			_, err := m.Cluster.Run(ctx, name, "sh", "-c", outfit)
			return err == nil, err
		})
		if err != nil {
			return err
		}
	}
	return cluster.Await(ctx, "each guest on its home", func(ctx context.Context) (bool, error) {
		err := m.isCalm(ctx)
		return err == nil, err
	})
}

func (m *Matrix) isCalm(ctx context.Context) error {
	for i := range m.Cluster.Nodes {
		if s := m.slots.now(i); s.State != held {
			return fmt.Errorf("the lease of %s is %s", m.node(i), s.State)
		}
		if err := m.InCharge().Online(ctx, m.node(i)); err != nil {
			return err
		}
		if err := m.knowsGuests(ctx, m.node(i)); err != nil {
			return err
		}
	}
	for i, g := range m.Guests {
		if err := m.Holds(ctx, g, m.home(i)); err != nil {
			return err
		}
	}
	return nil
}

// knowsGuests is nil when the agent has noted every guest on a node: the guard there kills no other process, and each of
// them may be moved there at any time.
func (m *Matrix) knowsGuests(ctx context.Context, name string) error {
	out, err := m.Cluster.Run(ctx, name, "ls", notes.DefaultRunDir+"/resources")
	if n := len(strings.Fields(out)); err == nil && n < len(m.Guests) {
		err = fmt.Errorf("the guard of %s knows %d of %d guests", name, n, len(m.Guests))
	}
	return err
}

// Holds is nil when the guest runs on a node alone, the cluster knows that, and it answers.
func (m *Matrix) Holds(ctx context.Context, g scenario.Guest, node int) error {
	name := m.node(node)
	if err := m.InCharge().Holds(ctx, []cluster.Guest{g.Guest}, name); err != nil {
		return err
	}
	return m.answersOn(ctx, g, node, false)
}

// answersOn is nil when the guest has one copy, on a node, and answers. Where the other node hangs, the processes there
// do not count: none of them can answer.
func (m *Matrix) answersOn(ctx context.Context, g scenario.Guest, node int, hangs bool) error {
	where := m.Where(g.Name)
	if hangs {
		where = slices.DeleteFunc(where, func(name string) bool { return name != m.node(node) })
	}
	if len(where) != 1 || where[0] != m.node(node) {
		return fmt.Errorf("guest %q runs on %v", g.Name, where)
	}
	_, err := m.ask(ctx, g)
	return err
}

func (m *Matrix) ask(ctx context.Context, g scenario.Guest) (guest.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return guest.Ask(ctx, fmt.Sprintf("%s:%d", g.Address, guest.StatusPort))
}

// bystanders are the process ids of the plain processes, by node.
func (m *Matrix) bystanders(ctx context.Context) ([]string, error) {
	var pids []string
	for _, name := range m.Cluster.Nodes {
		out, err := m.Cluster.Run(ctx, name, "systemctl", "show", "--value", "--property=MainPID", bystander)
		if err != nil {
			return nil, err
		}
		pids = append(pids, strings.TrimSpace(out))
	}
	return pids, nil
}
