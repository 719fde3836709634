package cluster

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/vmferry/vmferry/lab/node"
	"github.com/vmferry/vmferry/lab/supervisor"
	"github.com/vmferry/vmferry/lab/xen"
	"github.com/vmferry/vmferry/migrate/wait"
)

// Cluster is the running lab's nodes.
type Cluster struct {
	// Control is the path of the supervisor's control socket.
	Control string
	// Nodes are the names, in order.
	Nodes []string
	// Addresses are the nodes', by name, in the lab's network.
	Addresses map[string]string
	// Hypervisor is what runs the guests.
	Hypervisor Hypervisor
	// Unequal says that the nodes are to differ: see [Cluster.Furnish].
	Unequal bool
	// Exports says that the guests' disks are NBD exports: see package guarded.
	Exports bool
	// Local says that the nodes share no disk: see package mirrored.
	Local bool
}

// ErrDown says that a command was meant for a node that is not up.
var ErrDown = errors.New("the node is down")

// State asks the supervisor what it knows.
func (c *Cluster) State(ctx context.Context) (supervisor.Reply, error) {
	return supervisor.Ask(ctx, c.Control, supervisor.Request{Op: supervisor.OpStatus})
}

// Command is a command for the node, not yet started. See [node.Command] and [xen.Command].
func (c *Cluster) Command(ctx context.Context, name, program string, args ...string) (*exec.Cmd, error) {
	login, leader, err := c.way(ctx, name)
	switch {
	case err != nil:
		return nil, fmt.Errorf("run %q on node %q: %w", program, name, err)
	case login != "":
		return xen.Command(ctx, login, name, program, args...), nil
	}
	return node.Command(ctx, leader, program, args...), nil
}

// Shell is an interactive root shell on the node, not yet started.
func (c *Cluster) Shell(ctx context.Context, name string) (*exec.Cmd, error) {
	login, leader, err := c.way(ctx, name)
	switch {
	case err != nil:
		return nil, fmt.Errorf("open a shell on node %q: %w", name, err)
	case login != "":
		return xen.Shell(ctx, login, name), nil
	}
	return node.Command(ctx, leader, "bash", "-l"), nil
}

// way is how commands get to a node that is up: the configuration with which to log in to
// a machine, or "" and the leader of a container.
func (c *Cluster) way(ctx context.Context, name string) (login string, leader int, err error) {
	reply, err := c.State(ctx)
	if err != nil {
		return "", 0, err
	}
	state, ok := reply.Nodes[name]
	if !ok {
		return "", 0, fmt.Errorf("unknown node; the lab has %s", strings.Join(c.Nodes, ", "))
	}
	if state.Leader == 0 {
		return "", 0, ErrDown
	}
	return reply.Login, state.Leader, nil
}

// Run runs a command on the node and returns what it printed. A command that
// fails is an error that carries what it said on standard error.
func (c *Cluster) Run(ctx context.Context, name, program string, args ...string) (string, error) {
	cmd, err := c.Command(ctx, name, program, args...)
	if err != nil {
		return "", err
	}
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("run %q on node %q: %w: %s", program, name, err, lastLine(complaint.String()))
	}
	return out.String(), nil
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// Monitor is what crm_mon(8) tells about the whole cluster.
type Monitor struct {
	DC     bool // somebody is the designated controller
	Quorum bool
	Nodes  map[string]NodeStatus
	// Resources are all that the cluster manages, by name.
	Resources map[string]Resource
}

// NodeStatus is a node in Pacemaker's eyes.
type NodeStatus struct{ Online, Standby, Unclean, Pending bool }

// Resource is a resource in Pacemaker's eyes.
type Resource struct {
	Agent   string   // as in "ocf:heartbeat:VirtualDomain"
	Role    string   // "Started", "Stopped", "Migrating", …
	Failed  bool     // the last operation failed
	Blocked bool     // Pacemaker will not touch it any more
	On      []string // where it is active
}

// Ready reports whether all of the named nodes are full members and there is
// a designated controller with quorum.
func (m Monitor) Ready(names ...string) bool {
	for _, name := range names {
		n, ok := m.Nodes[name]
		if !ok || !n.Online || n.Pending || n.Unclean || n.Standby {
			return false
		}
	}
	return m.DC && m.Quorum
}

// Monitor asks Pacemaker on the named node.
func (c *Cluster) Monitor(ctx context.Context, name string) (Monitor, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := c.Run(ctx, name, "crm_mon", "--one-shot", "--inactive", "--output-as=xml")
	if err != nil {
		return Monitor{}, err
	}
	return parseMonitor([]byte(out))
}

// parseMonitor reads crm_mon's XML (Pacemaker's api/crm_mon-*.rng).
func parseMonitor(text []byte) (Monitor, error) {
	var doc struct {
		DC struct {
			Present bool `xml:"present,attr"`
			Quorum  bool `xml:"with_quorum,attr"`
		} `xml:"summary>current_dc"`
		Nodes []struct {
			Name    string `xml:"name,attr"`
			Online  bool   `xml:"online,attr"`
			Standby bool   `xml:"standby,attr"`
			Unclean bool   `xml:"unclean,attr"`
			Pending bool   `xml:"pending,attr"`
		} `xml:"nodes>node"`
		Resources []struct {
			ID      string `xml:"id,attr"`
			Agent   string `xml:"resource_agent,attr"`
			Role    string `xml:"role,attr"`
			Failed  bool   `xml:"failed,attr"`
			Blocked bool   `xml:"blocked,attr"`
			On      []struct {
				Name string `xml:"name,attr"`
			} `xml:"node"`
		} `xml:"resources>resource"`
	}
	if err := xml.Unmarshal(text, &doc); err != nil {
		return Monitor{}, fmt.Errorf("read crm_mon's answer: %w", err)
	}
	m := Monitor{
		DC: doc.DC.Present, Quorum: doc.DC.Quorum,
		Nodes: map[string]NodeStatus{}, Resources: map[string]Resource{},
	}
	for _, n := range doc.Nodes {
		m.Nodes[n.Name] = NodeStatus{n.Online, n.Standby, n.Unclean, n.Pending}
	}
	for _, r := range doc.Resources {
		resource := Resource{Agent: r.Agent, Role: r.Role, Failed: r.Failed, Blocked: r.Blocked}
		for _, n := range r.On {
			resource.On = append(resource.On, n.Name)
		}
		m.Resources[r.ID] = resource
	}
	return m, nil
}

// A condition in the nodes is looked at every pollEvery. Each look costs a
// process in a node that may be busy booting: where it takes long, what follows
// is pollRest times as long as it, up to pollMost, so that looking does not keep the
// node from what is waited for.
const (
	pollEvery = 500 * time.Millisecond
	pollRest  = 2
	pollMost  = 3 * time.Second
)

// Await looks until cond holds. When ctx ends first, the error says what was
// waited for and how the last look failed.
func Await(ctx context.Context, what string, cond func(context.Context) (bool, error)) error {
	for {
		begun := time.Now()
		ok, err := cond(ctx)
		if ok && err == nil {
			return nil
		}
		took := time.Since(begun)
		if wait.For(ctx, min(max(pollEvery-took, pollRest*took), pollMost)) != nil {
			return errors.Join(fmt.Errorf("wait for %s: %w", what, context.Cause(ctx)), err)
		}
	}
}

// AwaitOnline waits until Pacemaker on each of the nodes sees all of them as
// members. progress gets what is still missing.
func (c *Cluster) AwaitOnline(ctx context.Context, progress func(string)) error {
	for _, name := range c.Nodes {
		err := Await(ctx, fmt.Sprintf("Pacemaker on node %q", name), func(ctx context.Context) (bool, error) {
			m, err := c.Monitor(ctx, name)
			switch {
			case err != nil:
				progress(name + " is booting")
			case !m.Ready(c.Nodes...):
				progress(name + " is joining the cluster")
			}
			return err == nil && m.Ready(c.Nodes...), err
		})
		if err != nil {
			return err
		}
		progress(name + " is online")
	}
	return nil
}
