package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/lab/guest"
	"github.com/vmferry/vmferry/lab/scenario"
)

// Where the two agents are on a node.
const (
	oursPath = "/usr/lib/ocf/resource.d/vmferry/Domain"
	peerPath = "/usr/lib/ocf/resource.d/heartbeat/VirtualDomain"
)

// daemons are what works for a monitor besides the agent itself.
var daemons = []string{"vmferryd", "libvirtd", "virtqemud", "virtlogd"}

// bootTime bounds how long the guest may take to answer.
const bootTime = 90 * time.Second

// Bench is one measurement.
type Bench struct {
	Results []string // the names of what it gives, in order
	Run     func(context.Context, *Stage) ([]Result, error)
}

// Benches are all that there are.
var Benches = []Bench{
	{[]string{"monitor", "monitor-wall", "monitor-daemons"}, monitor},
	{[]string{"meta-data"}, metaData},
}

// Names are all results that there are.
func Names() []string {
	var names []string
	for _, b := range Benches {
		names = append(names, b.Results...)
	}
	return names
}

// Choose returns the benches that give any of the results in only, which stand
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
	N        int               // calls of each side
	Progress func(step string) // is told what is being done
}

func (s *Stage) node() string { return s.Cluster.Nodes[0] }

// environ is how Pacemaker calls an agent for the guest; it is the same for both, but for the
// agent's own name, which is added at each call.
func (s *Stage) environ() []string {
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C",
		"OCF_ROOT=/usr/lib/ocf", "OCF_RA_VERSION_MAJOR=1", "OCF_RA_VERSION_MINOR=1",
		"OCF_RESOURCE_INSTANCE=" + s.Guest.Name,
		"OCF_RESKEY_config=" + s.Guest.Config, "OCF_RESKEY_hypervisor=qemu:///system", "OCF_RESKEY_migration_transport=tcp",
		"OCF_RESKEY_CRM_meta_timeout=30000", "OCF_RESKEY_CRM_meta_interval=10000", "OCF_RESKEY_CRM_meta_name=monitor",
		"OCF_RESKEY_CRM_meta_on_node=" + s.node(), "OCF_RESKEY_crm_feature_set=3.20.0",
		"HA_LOGFACILITY=daemon", "HA_debug=0", "HA_logfacility=daemon",
	}
}

// monitor measures the monitor of a guest that runs, with vmferryd.
func monitor(ctx context.Context, s *Stage) (results []Result, err error) {
	s.Progress("starting the guest")
	if _, err := s.Cluster.Run(ctx, s.node(), "systemctl", "start", "vmferryd.service"); err != nil {
		return nil, err
	}
	if err := s.agent(ctx, "start"); err != nil {
		return nil, err
	}
	defer func() {
		if serr := s.agent(context.WithoutCancel(ctx), "stop"); err == nil {
			err = serr
		}
	}()
	if err := s.awaitGuest(ctx); err != nil {
		return nil, err
	}
	samples, err := s.call(ctx, Plan{Ours: oursPath, Peer: peerPath, Action: "monitor", Environ: s.environ(), N: s.N, Daemons: daemons})
	if err != nil {
		return nil, err
	}
	part := func(name string, of func(Sample) float64) Result {
		return compare(name, each(samples.Ours, of), each(samples.Peer, of))
	}
	return []Result{
		part("monitor", func(s Sample) float64 { return s.CPU }),
		part("monitor-wall", func(s Sample) float64 { return s.Wall }),
		part("monitor-daemons", func(s Sample) float64 { return s.Daemons }),
	}, nil
}

// metaData measures how long the meta-data take.
func metaData(ctx context.Context, s *Stage) ([]Result, error) {
	samples, err := s.call(ctx, Plan{Ours: oursPath, Peer: peerPath, Action: "meta-data", Environ: s.environ(), N: s.N})
	if err != nil {
		return nil, err
	}
	wall := func(s Sample) float64 { return s.Wall }
	return []Result{compare("meta-data", each(samples.Ours, wall), each(samples.Peer, wall))}, nil
}

func each(samples []Sample, of func(Sample) float64) []float64 {
	var values []float64
	for _, s := range samples {
		values = append(values, of(s))
	}
	return values
}

// agent makes one call of ours as Pacemaker would.
func (s *Stage) agent(ctx context.Context, action string) error {
	_, err := s.Cluster.Run(ctx, s.node(), "env", append(s.environ(), oursPath, action)...)
	return err
}

// awaitGuest waits until the guest has booted: what it costs until then would be in the figures.
func (s *Stage) awaitGuest(ctx context.Context) error {
	s.Progress("waiting for the guest to boot")
	ctx, cancel := context.WithTimeout(ctx, bootTime)
	defer cancel()
	return cluster.Await(ctx, "the guest to answer", func(ctx context.Context) (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		_, err := guest.Ask(ctx, fmt.Sprintf("%s:%d", s.Guest.Address, guest.StatusPort))
		return err == nil, err
	})
}

// call has a Caller in the node carry out a plan. The lab's own program is in each node as
// its fence agent; under another name it is the Caller.
func (s *Stage) call(ctx context.Context, p Plan) (Samples, error) {
	s.Progress(fmt.Sprintf("%s: calling each agent %d times", p.Action, p.N))
	caller := "/run/" + CallerName
	if _, err := s.Cluster.Run(ctx, s.node(), "ln", "--symbolic", "--force", "/lab/fence_lab", caller); err != nil {
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
