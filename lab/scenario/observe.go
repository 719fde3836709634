package scenario

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/lab/guest"
	"github.com/vmferry/vmferry/lab/report"
	"github.com/vmferry/vmferry/lab/supervisor"
	"github.com/vmferry/vmferry/migrate/blackout"
)

// Sample is one answer of a guest about itself.
type Sample struct {
	At     time.Time
	Status guest.Status
}

// NodeState is a change of a node's power, as the supervisor tells it.
type NodeState struct {
	At   time.Time
	Node string
	What string // "down", "booting"
}

// Observation is all that was seen of one scenario.
type Observation struct {
	Scenario              string
	Agent, Manager        string
	Hypervisor            string
	From, To              string
	Guests                []string
	Homes                 map[string]string // the nodes that guests were on, where that is not From
	Begun, Trigger, Ended time.Time
	Recovery              error // why the guests were not all back in time, or nil
	Copies                []Copy
	Events                []Event
	States                []NodeState
	Fences                []supervisor.FenceEvent
	Samples               map[string][]Sample // by guest, in order of time
	Probes                Probes
	Woken                 time.Time      // when the node that hung went on
	Told                  []report.Event // what only the scenario knows
	Failures              []string       // what only the scenario saw, and must not be
}

// Probes are what clients saw, by the guest's name.
type Probes map[string]Seen

// Seen is what clients saw of one guest, at two depths: its kernel (ICMP, and the acknowledgements of TCP), and its
// reflector, a service that costs little. A nil target was not probed.
type Seen struct{ ICMP, UDP, TCP *blackout.Target }

// targets are what is probed of the guest: its kernel, then its reflector.
func (g Guest) targets() (icmp, udp, tcp string) {
	at := g.at(guest.ReflectorPort)
	return "icmp://" + g.Address, "udp://" + at, "tcp://" + at
}

// Probe runs the probe program on every guest until ctx ends, with its report in
// file. The function that it returns waits for the end and reads what was measured.
func (r *Runner) Probe(ctx context.Context, file string) func() (Probes, error) {
	args := []string{"watch"}
	for _, g := range r.Guests {
		icmp, udp, tcp := g.targets()
		args = append(args, icmp, udp, tcp)
	}
	args = append(args, "--interval="+cmp.Or(r.Interval, r.profile().pace).String(), "--quiet", "--json="+file)
	cmd := exec.CommandContext(ctx, r.Blackout, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 15 * time.Second
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	err := cmd.Start()
	if err == nil {
		// A client has a machine of its own; here the probe shares two
		// processors with emulators that take all they can get.
		err = unix.Setpriority(unix.PRIO_PROCESS, cmd.Process.Pid, -15)
	}
	return func() (Probes, error) {
		if err != nil {
			return nil, fmt.Errorf("start the probe: %w", err)
		}
		if err := cmd.Wait(); err != nil && ctx.Err() == nil {
			return nil, fmt.Errorf("run the probe: %w: %s", err, strings.TrimSpace(complaint.String()))
		}
		probes, err := r.readProbes(file)
		if err != nil {
			return nil, fmt.Errorf("read the probe's report: %w: %s", err, strings.TrimSpace(complaint.String()))
		}
		return probes, nil
	}
}

// readProbes reads what the probe program wrote.
func (r *Runner) readProbes(file string) (Probes, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	rep, err := blackout.ReadReport(f)
	if err != nil {
		return nil, err
	}
	return probesOf(r.Guests, rep.Targets), nil
}

// probesOf deals targets out to guests by the targets' names.
func probesOf(guests []Guest, targets []blackout.Target) Probes {
	named := map[string]*blackout.Target{}
	for i := range targets {
		named[targets[i].Target] = &targets[i]
	}
	probes := Probes{}
	for _, g := range guests {
		icmp, udp, tcp := g.targets()
		probes[g.Name] = Seen{ICMP: named[icmp], UDP: named[udp], TCP: named[tcp]}
	}
	return probes
}

// poller asks one guest about itself, again and again.
type poller struct {
	mu      sync.Mutex
	samples []Sample
}

func (r *Runner) startPollers(ctx context.Context) map[string]*poller {
	pollers := map[string]*poller{}
	for _, g := range r.Guests {
		p := &poller{}
		pollers[g.Name] = p
		go func() {
			tick := time.NewTicker(r.askEvery())
			defer tick.Stop()
			for {
				if status, err := r.ask(ctx, g); err == nil {
					p.mu.Lock()
					p.samples = append(p.samples, Sample{time.Now(), status})
					p.mu.Unlock()
				}
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
			}
		}()
	}
	return pollers
}

func (p *poller) answeredSince(t time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.samples) > 0 && p.samples[len(p.samples)-1].At.After(t)
}

func collect(pollers map[string]*poller) map[string][]Sample {
	all := map[string][]Sample{}
	for name, p := range pollers {
		p.mu.Lock()
		all[name] = slices.Clone(p.samples)
		p.mu.Unlock()
	}
	return all
}

// startStates watches the nodes' power until ctx ends; the function that it
// returns waits for that and tells the changes.
func (r *Runner) startStates(ctx context.Context) func() []NodeState {
	var states []NodeState
	done := make(chan struct{})
	go func() {
		defer close(done)
		leaders := map[string]int{}
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			if reply, err := r.Cluster.State(ctx); err == nil {
				states = append(states, changes(leaders, reply.Nodes, time.Now())...)
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	return func() []NodeState {
		<-done
		return states
	}
}

// changes compares the leaders with those of the last look, and updates them.
func changes(leaders map[string]int, now map[string]supervisor.State, at time.Time) []NodeState {
	var states []NodeState
	for _, name := range slices.Sorted(maps.Keys(now)) {
		was, known := leaders[name]
		is := now[name].Leader
		leaders[name] = is
		switch {
		case !known || was == is:
		case is == 0:
			states = append(states, NodeState{at, name, "down"})
		default:
			states = append(states, NodeState{at, name, "booting"})
		}
	}
	return states
}

// Where are the nodes on which a copy of the guest lives, as the watch last saw
// it. It may be called within [Runner.Run].
func (r *Runner) Where(guest string) []string { return nodesOf(whereNow(guest, r.seen.Copies())) }

// whereNow are the copies of a guest that live.
func whereNow(guest string, copies []Copy) []Copy {
	var alive []Copy
	for _, c := range copies {
		if c.Guest == guest && c.Gone.IsZero() {
			alive = append(alive, c)
		}
	}
	return alive
}

func nodesOf(copies []Copy) []string {
	nodes := []string{}
	for _, c := range copies {
		nodes = append(nodes, c.Node)
	}
	return nodes
}
