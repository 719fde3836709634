package bench

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/lab/guest"
	"github.com/vmferry/vmferry/lab/report"
	"github.com/vmferry/vmferry/lab/scenario"
)

// Where the two agents are on a node.
const (
	oursPath = "/usr/lib/ocf/resource.d/vmferry/Domain"
	peerPath = "/usr/lib/ocf/resource.d/heartbeat/VirtualDomain"
)

// daemons are what works for a monitor besides the agent itself.
var daemons = []string{"vmferryd", "libvirtd", "virtqemud", "virtlogd"}

const (
	// bootTime bounds how long the guest may take to answer.
	bootTime = 90 * time.Second
	// agentTime is what Pacemaker gives a call that is not a move.
	agentTime = 30 * time.Second
)

// Bench is one measurement.
type Bench struct {
	Results []string // the names of what it gives, in order
	N       int      // how often each side has its turn, unless somebody wants another number
	Alone   bool     // it needs no lab: of its Stage it uses N, Blackout and Progress
	Guard   bool     // it needs a lab whose nodes run the guard
	Mirror  bool     // it needs one whose nodes have the guests' disks for themselves
	Run     func(context.Context, *Stage) ([]Result, error)
}

// Benches are all that there are, in the order in which they are best run: those
// that need no lab first, as its nodes would take their processors.
var Benches = append(aloneBenches(), []Bench{
	{Results: []string{"monitor", "monitor-wall", "monitor-daemons"}, N: 200, Run: monitor},
	{Results: []string{"meta-data"}, N: 200, Run: metaData},
	{Results: idleResults, N: 15, Run: idle},
	{Results: []string{"game-gap-udp"}, N: 15, Run: gameMoves},
	{Results: []string{"loaded-blackout-udp", "loaded-blackout-tcp"}, N: 15, Run: loaded},
	{Results: []string{"probe-share"}, N: 5, Run: probeShare},
	{Results: []string{"probe-halved"}, N: 15, Run: probeHalved},
	{Results: []string{"floor-pause"}, N: 15, Run: floor},
	{Results: []string{"emulator-part"}, N: 15, Run: emulatorPart},
	{Results: []string{"busy-blackout-udp", "busy-time"}, N: 15, Run: busy},
	{Results: []string{"hopeless", "hopeless-blackout-udp"}, N: 15, Run: hopeless},
	{Results: []string{"hopeless-postcopy", "hopeless-postcopy-blackout-udp"}, N: 15, Run: hopelessPostCopy},
	{Results: []string{"prediction-duration", "prediction-pause"}, N: 10, Run: prediction},
	{Results: leverResults(), N: 5, Run: pullLevers},
	{Results: []string{"drain-10", "drain-10-blackout"}, N: 5, Run: drainTen},
	{Results: []string{"drain-10-at-once", "drain-10-at-once-blackout"}, N: 5, Run: drainTenAtOnce},
	{Results: []string{"crash-to-answer", "crash-to-answer-icmp", "crash-to-answer-advised"}, N: 5, Run: crash},
	{Results: []string{"guard-crash-to-start-1s", "guard-crash-to-answer-1s"}, N: 10, Guard: true, Run: guardCrash(time.Second)},
	{Results: []string{"guard-crash-to-start-3s", "guard-crash-to-answer-3s"}, N: 10, Guard: true,
		Run: guardCrash(3 * time.Second)},
	{Results: []string{"guard-split-silence-moved"}, N: 10, Guard: true, Run: guardSplit("guard-split-silence-moved", "link",
		"the cluster's link is cut, token 1 s: the longest silence over UDP of the guest on the node that loses, until the link "+
			"is healed; it can be moved; to reach: 0.5 s")},
	{Results: []string{"guard-split-silence-killed"}, N: 10, Guard: true, Run: guardSplit("guard-split-silence-killed",
		"all between the nodes", "the same where the nodes cannot reach each other at all, so that it cannot be moved; to reach: 6 s")},
	{Results: []string{"mirror-round", "mirror-round-cpu"}, N: 15, Mirror: true, Run: mirrorRound},
	{Results: []string{"mirror-stall-fsync", "mirror-stall-gap"}, N: 15, Mirror: true, Run: mirrorStall},
	{Results: []string{"mirror-drain"}, N: 5, Mirror: true, Run: mirrorDrain},
	{Results: []string{"mirror-loss"}, N: 30, Mirror: true, Run: mirrorLoss},
}...)

// Names are all results that there are.
func Names() []string {
	var names []string
	for _, b := range Benches {
		names = append(names, b.Results...)
	}
	return names
}

// Choose returns the benches that give any of the results in only, which are
// between commas; all, where it is empty.
func Choose(only string) ([]Bench, error) {
	if only == "" {
		return Benches, nil
	}
	want := strings.Split(only, ",")
	for _, name := range want {
		if !slices.Contains(Names(), name) {
			return nil, fmt.Errorf("there is no bench %q; there are %s", name, strings.Join(Names(), ", "))
		}
	}
	var chosen []Bench
	for _, b := range Benches {
		if slices.ContainsFunc(b.Results, func(name string) bool { return slices.Contains(want, name) }) {
			chosen = append(chosen, b)
		}
	}
	return chosen, nil
}

// Stage is the lab that is measured on. It must be up, and this process inside its
// namespaces.
type Stage struct {
	Cluster  *cluster.Cluster
	Guest    scenario.Guest
	N        int               // turns of each side
	Shared   string            // the shared storage's folder, as this process sees it
	Blackout string            // the probe program
	Progress func(step string) // gets a line for each step
}

func (s *Stage) node() string { return s.Cluster.Nodes[0] }

// perform runs a bench, for n turns of each side, or for as many as the bench
// itself wants where n is 0.
func (b Bench) perform(ctx context.Context, s Stage, n int) ([]Result, error) {
	s.N = cmp.Or(n, b.N)
	results, err := b.Run(ctx, &s)
	if err != nil {
		return nil, fmt.Errorf("bench %s: %w", b.Results[0], err)
	}
	return results, nil
}

// Run runs benches one after the other and calls keep with each one's results. One that
// fails does not keep the others from being measured; the error has them all. When ctx ends,
// so does Run.
func (s Stage) Run(ctx context.Context, benches []Bench, n int, keep func([]Result) error) error {
	var failed []error
	for _, b := range benches {
		results, err := b.perform(ctx, s, n)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			s.Progress(err.Error())
			failed = append(failed, err)
			continue
		}
		if err := keep(results); err != nil {
			return err
		}
	}
	return errors.Join(failed...)
}

// environ is how Pacemaker calls an agent for a guest; it is the same for both, but for the
// agent's own name, which is added at each call.
func environ(g scenario.Guest, node, action string, timeout time.Duration, params ...string) []string {
	all := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C",
		"OCF_ROOT=/usr/lib/ocf", "OCF_RA_VERSION_MAJOR=1", "OCF_RA_VERSION_MINOR=1",
		"OCF_RESOURCE_INSTANCE=" + g.Name,
		"HA_LOGFACILITY=daemon", "HA_debug=0", "HA_logfacility=daemon",
	}
	interval := "0"
	if action == "monitor" {
		interval = "10000"
	}
	for _, p := range append([]string{
		"config=" + g.Config, "hypervisor=qemu:///system", "migration_transport=tcp",
		fmt.Sprintf("CRM_meta_timeout=%d", timeout.Milliseconds()), "CRM_meta_interval=" + interval,
		"CRM_meta_name=" + action,
		"CRM_meta_on_node=" + node, "crm_feature_set=3.20.0",
	}, params...) {
		all = append(all, "OCF_RESKEY_"+p)
	}
	return all
}

// monitor measures the monitor of a guest that runs, with vmferryd.
func monitor(ctx context.Context, s *Stage) (results []Result, err error) {
	s.Progress("starting the guest")
	if _, err := s.Cluster.Run(ctx, s.node(), "systemctl", "start", "vmferryd.service"); err != nil {
		return nil, err
	}
	if err := s.agent(ctx, s.Guest, s.node(), "start"); err != nil {
		return nil, err
	}
	defer func() {
		if serr := s.agent(context.WithoutCancel(ctx), s.Guest, s.node(), "stop"); err == nil {
			err = serr
		}
	}()
	if err := s.awaitGuest(ctx, s.Guest.Address); err != nil {
		return nil, err
	}
	samples, err := s.call(ctx, Plan{Ours: oursPath, Peer: peerPath, Action: "monitor",
		Environ: environ(s.Guest, s.node(), "monitor", agentTime), N: s.N, Daemons: daemons})
	if err != nil {
		return nil, err
	}
	part := func(name string, of func(Sample) float64) Result {
		return compare(name, "ms", report.Peer, each(samples.Ours, of), each(samples.Peer, of))
	}
	return []Result{
		part("monitor", func(s Sample) float64 { return s.CPU }),
		part("monitor-wall", func(s Sample) float64 { return s.Wall }),
		part("monitor-daemons", func(s Sample) float64 { return s.Daemons }),
	}, nil
}

// metaData measures how long the meta-data take.
func metaData(ctx context.Context, s *Stage) ([]Result, error) {
	samples, err := s.call(ctx, Plan{Ours: oursPath, Peer: peerPath, Action: "meta-data",
		Environ: environ(s.Guest, s.node(), "meta-data", agentTime), N: s.N})
	if err != nil {
		return nil, err
	}
	wall := func(s Sample) float64 { return s.Wall }
	return []Result{compare("meta-data", "ms", report.Peer, each(samples.Ours, wall), each(samples.Peer, wall))}, nil
}

func each[T any](samples []T, of func(T) float64) []float64 {
	var values []float64
	for _, s := range samples {
		values = append(values, of(s))
	}
	return values
}

// agent makes one call of ours as Pacemaker would.
func (s *Stage) agent(ctx context.Context, g scenario.Guest, node, action string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*agentTime)
	defer cancel()
	_, err := s.Cluster.Run(ctx, node, "env", append(environ(g, node, action, agentTime), oursPath, action)...)
	return err
}

// awaitGuest waits until a guest has booted: what it costs until then would be in the figures.
func (s *Stage) awaitGuest(ctx context.Context, address string) error {
	s.Progress("waiting for the guest to boot")
	ctx, cancel := context.WithTimeout(ctx, bootTime)
	defer cancel()
	return cluster.Await(ctx, "the guest to answer", func(ctx context.Context) (bool, error) {
		_, err := ask(ctx, address)
		return err == nil, err
	})
}

// ask asks the guest at an address about itself.
func ask(ctx context.Context, address string) (guest.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return guest.Ask(ctx, fmt.Sprintf("%s:%d", address, guest.StatusPort))
}

// alias gives the lab's own program, which is in each node as its fence agent, another name there, by
// which it knows what it is to be.
func (s *Stage) alias(ctx context.Context, node, name string) (path string, err error) {
	path = "/run/" + name
	_, err = s.Cluster.Run(ctx, node, "ln", "--symbolic", "--force", "/usr/sbin/fence_lab", path)
	return path, err
}

// call has a Caller in the node carry out a plan.
func (s *Stage) call(ctx context.Context, p Plan) (Samples, error) {
	s.Progress(fmt.Sprintf("%s: calling each agent %d times", p.Action, p.N))
	caller, err := s.alias(ctx, s.node(), CallerName)
	if err != nil {
		return Samples{}, err
	}
	cmd, err := s.Cluster.Command(ctx, s.node(), caller)
	if err != nil {
		return Samples{}, err
	}
	plan, err := json.Marshal(p)
	if err != nil {
		return Samples{}, err
	}
	var out, complaint bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(plan), &out, &complaint
	if err := cmd.Run(); err != nil {
		return Samples{}, fmt.Errorf("measure on %q: %w: %s", s.node(), err, strings.TrimSpace(complaint.String()))
	}
	var samples Samples
	if err := json.Unmarshal(out.Bytes(), &samples); err != nil {
		return Samples{}, fmt.Errorf("read what was measured on %q: %w", s.node(), err)
	}
	return samples, nil
}
