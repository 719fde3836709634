package partition

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/lab/guarded"
	"github.com/vmferry/vmferry/lab/node"
	"github.com/vmferry/vmferry/lab/supervisor"
)

// Cut is one fault. Sides are numbered as the nodes are, from 0 on.
type Cut struct {
	Name    string
	Prepare func(ctx context.Context, m *Matrix) error // when the nodes have come to rest; nil: nothing
	Begin   func(ctx context.Context, m *Matrix) error
	End     func(ctx context.Context, m *Matrix) error // nil: it ends by itself
	Lasts   time.Duration                              // from Begin to End, at least

	Loser   int  // the node whose guest leaves it; None: no node's does
	Dies    bool // the loser crashes: the other node takes its lease as expired
	Cut     bool // the loser kills its guest, and cannot write that it has surrendered
	Hangs   bool // the loser stops and continues later: the same, and what it wrote meanwhile must not arrive
	Live    bool // the loser's guest is migrated live
	Killed  bool // the loser's guest is killed; where it is started again is the cluster's affair
	Both    bool // both nodes crash
	Reboots bool // the loser boots again
	Resets  bool // its watchdog resets the loser, which dies; its guest may be back there soon

	Silent []int // the nodes that write nothing to the lease device at the end
	Reach  []int // how many gateways each node reaches at the end; nil: all

	Silence time.Duration // the longest that a guest may be silent; 0: as long as it takes
	Recover time.Duration // from Begin until every guest answers on the winner, at most
	Short   bool          // it is in the share that every run has
}

// quiet is how long a guest may be silent that is migrated live or not touched. Its client shares the processors of this
// machine with all nodes; the table has what was measured.
const quiet = 1500 * time.Millisecond

// None is no node.
const None = -1

// Cuts are the whole matrix, in the order in which they are made.
var Cuts = []Cut{
	{Name: "link", Begin: link(0, 1), End: heal, Lasts: 20 * time.Second,
		Loser: 1, Live: true, Silence: quiet, Recover: 30 * time.Second, Short: true},
	{Name: "crash", Begin: power(supervisor.OpKill, 1), End: power(supervisor.OpOn, 1),
		Loser: 1, Dies: true, Recover: 30 * time.Second, Short: true},
	{Name: "crash of both", Begin: all(power(supervisor.OpKill, 0), power(supervisor.OpKill, 1)),
		End: all(power(supervisor.OpOn, 0), power(supervisor.OpOn, 1)), Lasts: time.Second, Loser: None, Both: true},
	{Name: "cluster daemons killed", Begin: kill(1, "KILL", "corosync", "pacemakerd"), Lasts: 15 * time.Second,
		Loser: None, Silence: quiet},
	// Who knows how a guest is migrated is down too.
	{Name: "cluster daemons down", Begin: all(run(1, "mask", "--runtime"), kill(1, "KILL", "corosync", "pacemakerd")),
		End: run(1, "unmask", "--runtime"), Loser: 1, Recover: 30 * time.Second},
	{Name: "guard killed", Begin: kill(1, "KILL", guardProcess), Lasts: 8 * time.Second, Loser: None,
		Silence: quiet},
	{Name: "second process killed", Begin: kill(1, "KILL", secondProcess), Lasts: 8 * time.Second, Loser: None,
		Silence: quiet},
	{Name: "both processes killed", Begin: kill(1, "KILL", guardProcess, secondProcess), Lasts: 8 * time.Second,
		Loser: None, Silence: quiet},
	{Name: "guard stopped", Begin: kill(1, "STOP", guardProcess), End: kill(1, "CONT", guardProcess),
		Lasts: 10 * time.Second, Loser: 1, Killed: true, Recover: 30 * time.Second},
	// systemd starts it again.
	{Name: "guard stopped for good", Begin: kill(1, "STOP", guardProcess), Lasts: 20 * time.Second, Loser: 1, Killed: true,
		Recover: 30 * time.Second},
	{Name: "hang of 8 s", Begin: power(supervisor.OpFreeze, 1), End: power(supervisor.OpThaw, 1), Lasts: 8 * time.Second,
		Loser: 1, Hangs: true, Recover: 30 * time.Second, Short: true},
	{Name: "hang of 25 s", Begin: power(supervisor.OpFreeze, 1), End: power(supervisor.OpThaw, 1), Lasts: 25 * time.Second,
		Loser: 1, Hangs: true, Recover: 30 * time.Second},
	{Name: "storage for 6 s", Begin: storage(1), End: heal, Lasts: 6 * time.Second, Loser: None, Silent: []int{1},
		Short: true},
	{Name: "storage and link", Begin: all(storage(1), link(0, 1)), End: heal, Lasts: 20 * time.Second,
		Loser: 1, Cut: true, Silent: []int{1}, Recover: 30 * time.Second},
	{Name: "storage of both", Begin: all(storage(0), storage(1)), End: heal, Lasts: 10 * time.Second, Loser: None,
		Silent: []int{0, 1}},
	{Name: "fenced by an operator", Begin: fence(1), Loser: 1, Live: true, Silence: quiet, Recover: 20 * time.Second},
	{Name: "reboot", Begin: reboot(1), Loser: 1, Live: true, Reboots: true, Silence: quiet,
		Recover: time.Minute},
	{Name: "link, one direction", Begin: link(0), End: heal, Lasts: 15 * time.Second,
		Loser: 1, Live: true, Silence: quiet, Recover: 30 * time.Second},
	{Name: "link and one gateway", Begin: all(gateway(0), after(10*time.Second, link(0, 1))), End: heal,
		Lasts: 25 * time.Second, Loser: 0, Live: true, Silence: quiet, Recover: 30 * time.Second, Reach: []int{1, 2}},
	{Name: "one gateway", Begin: gateway(0), End: heal, Lasts: 20 * time.Second, Loser: None, Silence: quiet,
		Reach: []int{1, 2}},
	{Name: "one gateway of both", Begin: all(gateway(0), gateway(1)), End: heal, Lasts: 15 * time.Second, Loser: None,
		Silence: quiet, Reach: []int{1, 1}},
	{Name: "all between the nodes", Begin: network(0, 1), End: heal, Lasts: 30 * time.Second,
		Loser: 1, Recover: 40 * time.Second},
	{Name: "flapping link", Begin: flap(5, 1500*time.Millisecond, 2*time.Second), End: heal, Lasts: 20 * time.Second,
		Loser: None, Silence: quiet},
	{Name: "crash, power board without power", Prepare: boardsFirst, Begin: power(supervisor.OpKill, 1),
		End: all(power(supervisor.OpOn, 1), guardAlone), Loser: 1, Dies: true, Recover: time.Minute},
	// The watchdogs are fed until the nodes boot: this one comes last.
	{Name: "hang, watchdog in place of revocation", Prepare: useWatchdog, Begin: power(supervisor.OpFreeze, 1),
		End: useRevocation, Loser: 1, Dies: true, Resets: true, Recover: time.Minute},
}

// underHeartbeat are the cuts from which other things come under Heartbeat than under Pacemaker, and those that are made
// there alone. One without a Begin is not made.
var underHeartbeat = []Cut{
	// Nobody starts Heartbeat again, and its node is fenced. The agent has noted how its guest is migrated.
	{Name: "cluster daemons killed", Begin: kill(1, "KILL", heartbeatProcess), Loser: 1, Live: true, Silence: quiet,
		Recover: 20 * time.Second},
	{Name: "cluster daemons down"}, // the same
	{Name: "hang, watchdog in place of revocation"},
	{Name: "crash, power board without power"}, // it has no levels
	{Name: "fenced by an operator", Begin: reset(1), Loser: 1, Live: true, Silence: quiet, Recover: 20 * time.Second},
	// Nothing like wait_for_all keeps Heartbeat from fencing the winner then.
	{Name: "link, and the loser boots again", Begin: all(bothWays(0), after(15*time.Second, power(supervisor.OpKill, 1)),
		power(supervisor.OpOn, 1)), End: healAt(0), Lasts: time.Minute, Loser: 1, Live: true, Reboots: true,
		Recover: 15 * time.Second},
}

// CutsUnder are the cuts that are made under a cluster manager, in the order in which they are made.
func CutsUnder(manager string) []Cut {
	if manager != cluster.HeartbeatName {
		return Cuts
	}
	cuts := slices.Clone(Cuts)
	for _, other := range underHeartbeat {
		if i := slices.IndexFunc(cuts, func(c Cut) bool { return c.Name == other.Name }); i >= 0 {
			cuts[i] = other
		} else {
			cuts = append(cuts, other)
		}
	}
	return slices.DeleteFunc(cuts, func(c Cut) bool { return c.Begin == nil })
}

// Shot is the cut "link" in a cluster that has another fence device than the guard: the winner cuts the power of the loser.
var Shot = Cut{Name: "link, the loser loses its power", Begin: link(0, 1), End: all(healAt(0), power(supervisor.OpOn, 1)),
	Loser: 1, Dies: true, Recover: time.Minute}

// Named is the cut of the matrix that has a name. It panics where there is none: names are constants.
func Named(name string) Cut {
	return Cuts[slices.IndexFunc(Cuts, func(c Cut) bool { return c.Name == name })]
}

// healAt ends all cuts of packets at a node.
func healAt(node int) func(context.Context, *Matrix) error {
	return func(ctx context.Context, m *Matrix) error {
		_, err := m.Cluster.Run(ctx, m.node(node), "iptables", "--wait", "--flush", chain)
		return err
	}
}

// all begins several faults, one after the other.
func all(begins ...func(context.Context, *Matrix) error) func(context.Context, *Matrix) error {
	return func(ctx context.Context, m *Matrix) error {
		for _, begin := range begins {
			if err := begin(ctx, m); err != nil {
				return err
			}
		}
		return nil
	}
}

// after begins a fault later.
func after(d time.Duration, begin func(context.Context, *Matrix) error) func(context.Context, *Matrix) error {
	return func(ctx context.Context, m *Matrix) error {
		if err := pause(ctx, d); err != nil {
			return err
		}
		return begin(ctx, m)
	}
}

// link cuts what the cluster and the guard send, on its way in at these nodes. Guests can still be migrated.
func link(at ...int) func(context.Context, *Matrix) error {
	return func(ctx context.Context, m *Matrix) error {
		return m.drop(ctx, at, func(node int) []string {
			return guarded.LinkRule(m.address(1 - node))
		})
	}
}

// bothWays is link at one node alone, on the way in and out: it outlasts a boot of the other node.
func bothWays(at int) func(context.Context, *Matrix) error {
	return func(ctx context.Context, m *Matrix) error {
		in := guarded.LinkRule(m.address(1 - at))
		out := append([]string{"--destination=" + m.address(1-at)}, in[1:]...)
		for _, rule := range [][]string{in, out} {
			if err := m.drop(ctx, []int{at}, func(int) []string { return rule }); err != nil {
				return err
			}
		}
		return nil
	}
}

// network cuts all that one node sends to the other, on its way in at these nodes.
func network(at ...int) func(context.Context, *Matrix) error {
	return func(ctx context.Context, m *Matrix) error {
		return m.drop(ctx, at, func(node int) []string { return []string{"--source=" + m.address(1-node)} })
	}
}

// gateway cuts one node from the first gateway.
func gateway(at int) func(context.Context, *Matrix) error {
	return func(ctx context.Context, m *Matrix) error {
		return m.drop(ctx, []int{at}, func(int) []string { return []string{"--source=" + guarded.Gateways[0].String()} })
	}
}

// storage cuts a node from the lease device and from the guests' disks. The node's connections stay: it does not hear
// that what it sends does not arrive.
func storage(at int) func(context.Context, *Matrix) error {
	return func(ctx context.Context, m *Matrix) error {
		address := guarded.StorageAddress(node.Spec{ID: at + 1}).String()
		return m.drop(ctx, []int{at}, func(int) []string { return []string{"--destination=" + address} })
	}
}

// flap cuts the link again and again.
func flap(times int, down, up time.Duration) func(context.Context, *Matrix) error {
	return func(ctx context.Context, m *Matrix) error {
		for range times {
			if err := link(0, 1)(ctx, m); err != nil {
				return err
			}
			if err := pause(ctx, down); err != nil {
				return err
			}
			if err := heal(ctx, m); err != nil {
				return err
			}
			if err := pause(ctx, up); err != nil {
				return err
			}
		}
		return nil
	}
}

// power is a failure of a node, or the end of it.
func power(op supervisor.Op, node int) func(context.Context, *Matrix) error {
	return func(ctx context.Context, m *Matrix) error {
		_, err := supervisor.Ask(ctx, m.Cluster.Control, supervisor.Request{Op: op, Node: m.node(node)})
		return err
	}
}

// reboot reboots a node as an operator does.
func reboot(at int) func(context.Context, *Matrix) error {
	return func(ctx context.Context, m *Matrix) error {
		_, _ = m.Cluster.Run(ctx, m.node(at), "systemctl", "reboot", "--no-wall") // ends with the node
		return nil
	}
}

// fence has an operator fence a node that is well.
func fence(at int) func(context.Context, *Matrix) error {
	return func(ctx context.Context, m *Matrix) error {
		_, err := m.Cluster.Run(ctx, m.node(1-at), "stonith_admin", "--reboot="+m.node(at))
		return err
	}
}

// boardsFirst gives each node a power board that does not switch it off, as it lost its power with the node, and makes
// the guard the second level.
func boardsFirst(ctx context.Context, m *Matrix) error {
	var devices, levels strings.Builder
	for _, n := range m.Cluster.Nodes {
		fmt.Fprintf(&devices, `<primitive id="board-%[1]s" class="stonith" type="fence_lab"><instance_attributes id="board-%[1]s-a">`+
			`<nvpair id="board-%[1]s-plug" name="plug" value="none"/>`+
			`<nvpair id="board-%[1]s-list" name="pcmk_host_list" value="%[1]s"/></instance_attributes></primitive>`, n)
		for i, device := range []string{"board-" + n, "fence"} {
			fmt.Fprintf(&levels, `<fencing-level id="level-%d-%s" target="%[2]s" index="%[1]d" devices="%[3]s"/>`, i+1, n, device)
		}
	}
	_, err := m.Cluster.Run(ctx, m.node(0), "cibadmin", "--modify", "--allow-create", "--scope=configuration",
		"--xml-text=<configuration><resources>"+devices.String()+"</resources><fencing-topology>"+levels.String()+
			"</fencing-topology></configuration>")
	return err
}

// guardAlone undoes boardsFirst.
func guardAlone(ctx context.Context, m *Matrix) error { return GuardAlone(ctx, m.Cluster) }

// GuardAlone makes the guard the only fence device of Pacemaker again: without power switches, and without levels.
func GuardAlone(ctx context.Context, c *cluster.Cluster) error {
	for _, path := range []string{"//fencing-level", "//primitive[@type='fence_lab']"} {
		if _, err := c.Run(ctx, c.Nodes[0], "cibadmin", "--delete-all", "--force", "--xpath="+path); err != nil {
			return err
		}
	}
	return nil
}

// useWatchdog has the guards feed a watchdog, and revoke nothing: that it fires is the only proof.
func useWatchdog(ctx context.Context, m *Matrix) error {
	return m.reconfigure(ctx, "cp --preserve guard.toml guard.toml.revoke && "+
		`sed --in-place --expression='/^\(revoke\|admit\) /d' --expression='1i watchdog = "`+node.WatchdogDevice+`"' guard.toml`)
}

// useRevocation undoes useWatchdog.
func useRevocation(ctx context.Context, m *Matrix) error {
	online, cancel := context.WithTimeoutCause(ctx, calmTime, errors.New("the node that was reset does not join"))
	defer cancel()
	if err := m.InCharge().AwaitOnline(online, m.Progress); err != nil {
		return err
	}
	return m.reconfigure(ctx, "mv guard.toml.revoke guard.toml")
}

// reconfigure changes the guard's configuration on each node by commands of the shell, and restarts it.
func (m *Matrix) reconfigure(ctx context.Context, commands string) error {
	for _, name := range m.Cluster.Nodes {
		if _, err := m.Cluster.Run(ctx, name, "sh", "-c", "cd /etc/vmferry && "+commands+
			" && systemctl restart vmferry-guard.service"); err != nil {
			return err
		}
	}
	return nil
}

// reset is fence with Heartbeat's STONITH.
func reset(at int) func(context.Context, *Matrix) error {
	return func(ctx context.Context, m *Matrix) error {
		_, err := m.Cluster.Run(ctx, m.node(1-at), "stonith", "-t", stonithPlugin, "-T", "reset", m.node(at))
		return err
	}
}

// managerUnits are Pacemaker's.
var managerUnits = []string{"corosync.service", "pacemaker.service"}

// run has systemd on a node do something with Pacemaker's units.
func run(node int, verb ...string) func(context.Context, *Matrix) error {
	return func(ctx context.Context, m *Matrix) error {
		_, err := m.Cluster.Run(ctx, m.node(node), "systemctl", slices.Concat(verb, managerUnits)...)
		return err
	}
}

// Patterns of Heartbeat's processes and of the guard's two for pkill(1): the guard has no argument.
const (
	heartbeatProcess = "^(heartbeat: |/usr/libexec/heartbeat/heartbeat )"

	guardProcess  = "^/usr/sbin/vmferry-guard$"
	secondProcess = "^/usr/sbin/vmferry-guard --second$"
)

// kill sends a signal to processes of a node, all at once.
func kill(node int, signal string, patterns ...string) func(context.Context, *Matrix) error {
	return func(ctx context.Context, m *Matrix) error {
		pattern := patterns[0]
		for _, p := range patterns[1:] {
			pattern += "|" + p
		}
		_, err := m.Cluster.Run(ctx, m.node(node), "pkill", "--signal="+signal, "--full", "--", pattern)
		return err
	}
}
