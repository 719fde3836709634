package scenario

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/lab/guest"
	"github.com/vmferry/vmferry/lab/report"
	"github.com/vmferry/vmferry/lab/supervisor"
	"github.com/vmferry/vmferry/migrate/wait"
)

// calm is how long probes run before the trigger and after the last guest is
// back: long enough to see what is normal, and an echo of the outage.
const calm = 4 * time.Second

// Runner runs scenarios on a lab that is up. It must run inside the lab's
// namespaces.
type Runner struct {
	Cluster *cluster.Cluster
	// Manager is the cluster manager that runs the guests; nil is Pacemaker.
	Manager cluster.Manager
	Guests  []Guest
	// Blackout is the probe program, Scratch a folder for its reports.
	Blackout, Scratch string
	// Interval is between two probes of one target; 0 is one that the nodes
	// carry without its being felt.
	Interval time.Duration
	// Progress gets a line for each step.
	Progress func(step string)

	seen     observer
	stripped bool // the nodes are without vmferry's daemon and settings
}

// Guest is one of the lab's guests: what the cluster knows of it, and the
// address at which its services answer.
type Guest struct {
	cluster.Guest
	Address string
	UUID    string // of its domain
}

// at is the guest's address with a port, as HOST:PORT.
func (g Guest) at(port int) string { return net.JoinHostPort(g.Address, strconv.Itoa(port)) }

// InCharge is the cluster manager that runs the guests.
func (r *Runner) InCharge() cluster.Manager {
	if r.Manager == nil {
		return cluster.Pacemaker{Cluster: r.Cluster}
	}
	return r.Manager
}

// known are the guests as the cluster knows them.
func (r *Runner) known() []cluster.Guest {
	var guests []cluster.Guest
	for _, g := range r.Guests {
		guests = append(guests, g.Guest)
	}
	return guests
}

// Run starts the observers, calls body, and stops them. All scenarios of a
// demo run within one Run. Nodes that a peer's run stripped have all of vmferry again at its end.
func (r *Runner) Run(ctx context.Context, body func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r.seen = r.profile().observe(r.Cluster, r.Guests)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return r.seen.Run(ctx) })
	group.Go(func() error {
		defer cancel()
		err := body(ctx)
		if r.stripped {
			err = errors.Join(err, r.outfit(ctx, true))
		}
		return err
	})
	return group.Wait()
}

// limit is what a few guests may take, and more for each of many.
func (r *Runner) limit(forFew time.Duration) time.Duration {
	return forFew + r.profile().limits.each*time.Duration(max(0, len(r.Guests)-few))
}

// Place has the cluster run the guests with the agent on the named node, and
// waits until all of them answer.
func (r *Runner) Place(ctx context.Context, agent cluster.Agent, node string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.limit(r.profile().limits.start),
		errors.New("the guests did not start"))
	defer cancel()
	r.Progress(fmt.Sprintf("%s: starting %d guests on %s", agent.Type, len(r.Guests), node))
	if err := r.outfit(ctx, agent == cluster.Ours); err != nil {
		return err
	}
	if err := r.InCharge().AddGuests(ctx, agent, r.known(), node); err != nil {
		return err
	}
	if err := forgetNeighbours(r.Guests); err != nil {
		return err
	}
	return r.awaitAnswers(ctx, node)
}

// dropIns are what vmferry changes of other people's units, and the lab for it, below /usr/lib/systemd, where a link to
// /dev/null below /etc takes it back.
var dropIns = []string{
	"logind.conf.d/90-vmferry.conf", "logind.conf.d/95-lab.conf",
	"system/pacemaker.service.d/10-vmferry.conf", "system/heartbeat.service.d/10-vmferry.conf",
}

// outfit gives the nodes the daemon and the settings that vmferry is installed
// with, or takes them away: the peer is to run as people run it today, and
// neither hampered nor helped by ours.
func (r *Runner) outfit(ctx context.Context, ours bool) error {
	if ours && !r.stripped && r.hasDaemon(ctx) {
		return nil
	}
	steps := [][]string{{"systemctl", "disable", "--now", "vmferryd.service"}}
	for _, name := range dropIns {
		path := "/etc/systemd/" + name
		if ours {
			steps = append(steps, []string{"rm", "--force", path})
		} else {
			steps = append(steps, []string{"mkdir", "--parents", filepath.Dir(path)},
				[]string{"ln", "--symbolic", "--force", "/dev/null", path})
		}
	}
	steps = append(steps, []string{"systemctl", "daemon-reload"},
		[]string{"systemctl", "restart", "systemd-logind.service"})
	if ours {
		steps = append(steps, []string{"systemctl", "enable", "--now", "vmferryd.service"})
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, name := range r.Cluster.Nodes {
		group.Go(func() error {
			for _, step := range steps {
				if _, err := r.Cluster.Run(ctx, name, step[0], step[1:]...); err != nil {
					return err
				}
			}
			return nil
		})
	}
	r.stripped = !ours // or half, which is mended the same way
	return group.Wait()
}

// hasDaemon reports whether all nodes run vmferry's daemon, which is the first to be
// taken away and the last to be given back: then they have the settings too.
func (r *Runner) hasDaemon(ctx context.Context) bool {
	for _, name := range r.Cluster.Nodes {
		if _, err := r.Cluster.Run(ctx, name, "systemctl", "is-active", "--quiet", "vmferryd.service"); err != nil {
			return false
		}
	}
	return true
}

// awaitAnswers waits until every guest answers and the manager has it on node.
func (r *Runner) awaitAnswers(ctx context.Context, node string) error {
	return cluster.Await(ctx, "every guest to answer on "+node, func(ctx context.Context) (bool, error) {
		if err := r.InCharge().Holds(ctx, r.known(), node); err != nil {
			return false, err
		}
		for _, g := range r.Guests {
			if _, err := r.ask(ctx, g); err != nil {
				return false, err
			}
		}
		return true, nil
	})
}

func (r *Runner) ask(ctx context.Context, g Guest) (guest.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return guest.Ask(ctx, g.at(guest.StatusPort))
}

// Remove takes the guests away from the cluster; via is a member of it.
func (r *Runner) Remove(ctx context.Context, via string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.limit(r.profile().limits.trigger),
		errors.New("the guests did not stop"))
	defer cancel()
	r.Progress("removing the guests")
	return r.InCharge().RemoveGuests(ctx, via, r.known())
}

// Take gives the nodes to the manager of this runner, which must have no
// guests yet, and waits until both nodes are members.
func (r *Runner) Take(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.profile().limits.comeback, errors.New("it does not take over"))
	defer cancel()
	r.Progress("the nodes go to " + r.InCharge().Name())
	if err := r.InCharge().Take(ctx); err != nil {
		return err
	}
	return r.InCharge().AwaitOnline(ctx, r.Progress)
}

// AwaitReturn waits until the node has been booted more often than that, and both nodes are members again. A node that
// was asked to reboot and has no guests left may take its time to go down, as a member: to await that alone would be to
// find it as it was.
func (r *Runner) AwaitReturn(ctx context.Context, node string, boots int) error {
	if err := r.awaitBoot(ctx, node, boots); err != nil {
		return err
	}
	return r.awaitMember(ctx)
}

// awaitMember waits until both nodes are members again.
func (r *Runner) awaitMember(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.profile().limits.comeback, errors.New("the node did not come back"))
	defer cancel()
	return r.InCharge().AwaitOnline(ctx, r.Progress)
}

// Boots is how often the node has been booted in this lab.
func (r *Runner) Boots(ctx context.Context, node string) (int, error) {
	reply, err := r.Cluster.State(ctx)
	return reply.Nodes[node].Boots, err
}

// awaitBoot waits until the node has been booted more often than that.
func (r *Runner) awaitBoot(ctx context.Context, node string, boots int) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.profile().limits.comeback, errors.New("the node did not go down"))
	defer cancel()
	r.Progress("waiting for " + node + " to boot again")
	return cluster.Await(ctx, node+" to boot again", func(ctx context.Context) (bool, error) {
		now, err := r.Boots(ctx, node)
		return now > boots, err
	})
}

// powerOn boots a node that is off: nobody else does, where nobody fences.
func (r *Runner) powerOn(ctx context.Context, node string) error {
	_, err := supervisor.Ask(ctx, r.Cluster.Control, supervisor.Request{Op: supervisor.OpOn, Node: node})
	return err
}

// GracefulShutdown reboots the node that the guests are on, as an operator
// does, and watches them move to the node to.
func (r *Runner) GracefulShutdown(ctx context.Context, agent cluster.Agent, from, to string) (report.Scenario, error) {
	return r.observe(ctx, agent, scene{name: report.GracefulShutdown, from: from, to: to, trigger: func(ctx context.Context) error {
		// The shell of an operator ends with the node; so may this command,
		// before it could say that it was carried out.
		_, err := r.Cluster.Run(ctx, from, "systemctl", "reboot", "--no-wall")
		return err
	}})
}

// Crash kills the node that the guests are on and watches them start on the
// node to.
func (r *Runner) Crash(ctx context.Context, agent cluster.Agent, from, to string) (report.Scenario, error) {
	return r.observe(ctx, agent, scene{name: report.Crash, from: from, to: to, trigger: func(ctx context.Context) error {
		_, err := supervisor.Ask(ctx, r.Cluster.Control, supervisor.Request{Op: supervisor.OpKill, Node: from})
		return err
	}})
}

// scene is what is done to the nodes.
type scene struct {
	name     string
	from, to string // the node that fails or loses, and the one that has all guests afterwards
	homes    map[string]string
	calm     time.Duration // how long probes run before and after; 0 is the usual time
	trigger  func(context.Context) error
	// after is called when the guests are back, and tell at the end, for what it alone knows; both may be nil. What was
	// seen and must not be is no error of theirs: they add it to the observation.
	after func(context.Context, *Observation) error
	tell  func(context.Context, *Observation) error
}

// observe runs one scenario: calm, trigger, recovery, calm. An error means
// that nothing could be observed; guests that did not recover are a result.
func (r *Runner) observe(ctx context.Context, agent cluster.Agent, sc scene) (report.Scenario, error) {
	label := Label(agent)
	manager := r.InCharge().Name()
	say := func(step string) { r.Progress(fmt.Sprintf("%s, %s, %s: %s", sc.name, manager, label, step)) }
	o := Observation{Scenario: sc.name, Agent: label, Manager: manager, Hypervisor: r.Cluster.Hypervisor.Name, From: sc.from,
		To: sc.to, Homes: sc.homes, Begun: time.Now()}

	probing, stopProbes := context.WithCancel(ctx)
	defer stopProbes()
	probe := r.Probe(probing, filepath.Join(r.Scratch, strings.Join([]string{sc.name, manager, label}, "-")+".json"))
	asking, stopAsking := context.WithCancel(ctx)
	defer stopAsking()
	pollers := r.startPollers(asking)
	states := r.startStates(asking)

	say("clients are probing")
	around := cmp.Or(sc.calm, calm)
	if err := wait.For(ctx, around); err != nil {
		return report.Scenario{}, err
	}
	o.Trigger = time.Now()
	if err := sc.trigger(ctx); err != nil {
		return report.Scenario{}, fmt.Errorf("trigger %q: %w", sc.name, err)
	}
	say("waiting for the guests on " + sc.to)
	limit, cancel := context.WithTimeoutCause(ctx, r.limit(r.profile().limits.trigger),
		errors.New("the guests did not come back"))
	o.Recovery = r.awaitRecovery(limit, sc, o.Trigger, pollers)
	cancel()
	if ctx.Err() != nil {
		return report.Scenario{}, ctx.Err()
	}
	if sc.after != nil {
		if err := sc.after(ctx, &o); err != nil {
			return report.Scenario{}, err
		}
	}
	if err := wait.For(ctx, around); err != nil {
		return report.Scenario{}, err
	}
	o.Ended = time.Now()
	stopAsking()
	stopProbes()
	say("reading the probes")
	seen, err := probe()
	if err != nil {
		return report.Scenario{}, err
	}
	o.Probes = seen
	o.Samples, o.States = collect(pollers), states()
	if err := r.gather(ctx, &o); err != nil {
		return report.Scenario{}, err
	}
	if sc.tell != nil {
		if err := sc.tell(ctx, &o); err != nil {
			return report.Scenario{}, err
		}
	}
	return judge(o), nil
}

// gather adds what was seen all the time.
func (r *Runner) gather(ctx context.Context, o *Observation) error {
	o.Copies, o.Events = r.seen.Copies(), r.seen.Events()
	reply, err := r.Cluster.State(ctx)
	o.Fences = reply.Fence
	for _, g := range r.Guests {
		o.Guests = append(o.Guests, g.Name)
	}
	return err
}

// awaitRecovery waits until each guest has answered after the trigger while
// its only process is on the node to. Processes of a node that is frozen do not count.
func (r *Runner) awaitRecovery(ctx context.Context, sc scene, trigger time.Time, pollers map[string]*poller) error {
	return cluster.Await(ctx, "every guest to answer on "+sc.to, func(context.Context) (bool, error) {
		for _, g := range r.Guests {
			where := whereNow(g.Name, r.seen.Copies())
			if sc.name == report.Hang {
				where = slices.DeleteFunc(where, func(c Copy) bool { return c.Node == sc.from })
			}
			if len(where) != 1 || where[0].Node != sc.to {
				return false, fmt.Errorf("guest %q runs on %v", g.Name, nodesOf(where))
			}
			if !pollers[g.Name].answeredSince(later(where[0].Seen, trigger)) {
				return false, fmt.Errorf("guest %q does not answer", g.Name)
			}
		}
		return true, nil
	})
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
