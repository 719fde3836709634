package pacemaker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/pacemaker/cib"
	"github.com/vmferry/vmferry/resource/command"
	"github.com/vmferry/vmferry/resource/elsewhere"
	"github.com/vmferry/vmferry/resource/hostproc"
)

// killAfter is how long a program of Pacemaker's may take to die of SIGTERM
// once its deadline has passed, before it is killed.
const killAfter = 2 * time.Second

// Client speaks to the Pacemaker of this node. The zero value of each field
// but Agents is useful.
type Client struct {
	Agents []string // the agents whose resources are guests, such as "ocf:vmferry:Domain"
	Node   string   // this node's name in the cluster; empty: ask crm_node
	// Run runs one program and returns what it wrote to its standard output. An error names the program and carries the
	// last line of its standard error. nil: Exec.
	Run  command.Runner
	Proc string // where procfs is; empty: /proc
	Etc  string // where passwd is; empty: /etc

	mu   sync.Mutex
	name string // the answer of crm_node, once known
}

var _ hbplugin.Cluster = (*Client)(nil)

// String names the manager in messages.
func (*Client) String() string { return "pacemaker" }

// View implements hbplugin.Manager with one run of crm_mon. Where none of
// Pacemaker's daemons is alive on this node, no program is run.
func (c *Client) View(ctx context.Context) (hbplugin.View, error) {
	s, own, err := c.monitor(ctx, "nodes,resources")
	if errors.Is(err, errNotRunning) {
		return hbplugin.View{}, nil
	}
	if err != nil {
		return hbplugin.View{}, err
	}
	return viewOf(s, own, c.Agents), nil
}

// Peers lists the other nodes of the cluster as Pacemaker sees them, for an agent that wants
// proof before it starts a guest. A node that is offline and clean is PeerFenced where that can
// be proved: the fencer remembers that it switched the node off or reset it, and the CIB has no history of
// operations of the node. Pacemaker erases that history when a node has been fenced, keeps it when a node
// leaves in order, and writes a new one as soon as the node joins again.
func (c *Client) Peers(ctx context.Context) ([]elsewhere.Peer, error) {
	s, own, err := c.monitor(ctx, "nodes,fencing")
	if err != nil {
		return nil, err
	}
	list := peers(s, own.Name)
	suspect := func(p elsewhere.Peer) bool { return p.State == elsewhere.PeerDown && slices.Contains(s.Fenced, p.Name) }
	if !slices.ContainsFunc(list, suspect) {
		return list, nil
	}
	out, err := c.run(ctx, "cibadmin", "--query", "--scope=status")
	var erased []string // the nodes of which the CIB has a state and no history of operations
	if err == nil {
		erased, err = cib.ParseErased(strings.NewReader(out))
	}
	if err != nil {
		return list, nil // each stays PeerDown: not known to be fenced
	}
	for i, p := range list {
		if suspect(p) && slices.Contains(erased, p.Name) {
			list[i].State = elsewhere.PeerFenced
		}
	}
	return list, nil
}

// Members are the nodes of this node's partition of the cluster, with this one: those that Corosync sees, whatever
// Pacemaker makes of them. A node is a member while it joins and while it is to be fenced.
func (c *Client) Members(ctx context.Context) ([]string, error) {
	if _, err := c.alive(ctx); err != nil {
		return nil, err
	}
	out, err := c.run(ctx, "crm_node", "--partition")
	return strings.Fields(out), err
}

// Leaving reports whether Pacemaker takes everything off this node: it is in standby, whoever requested
// that, or shuts down.
func (c *Client) Leaving(ctx context.Context) (bool, error) {
	_, own, err := c.monitor(ctx, "nodes")
	return own.Standby || own.Leaving, err
}

// monitor is what crm_mon says of some sections, and which node in it is this one. It is an error when the document is
// cut short, is not crm_mon's, reports a failure, or does not know the node: each of these means "cannot tell".
func (c *Client) monitor(ctx context.Context, sections string) (s cib.Status, own cib.Node, err error) {
	node, err := c.alive(ctx)
	if err != nil {
		return s, own, err
	}
	if s, err = c.status(ctx, sections); err != nil {
		return s, own, err
	}
	own, err = ownNode(s, node)
	return s, own, err
}

func (c *Client) status(ctx context.Context, sections string) (cib.Status, error) {
	out, err := c.run(ctx, "crm_mon", "--output-as=xml", "--exclude=all", "--include="+sections, "-1")
	if err != nil {
		return cib.Status{}, err
	}
	return cib.ParseStatus(strings.NewReader(out))
}

// Status is crm_mon's view of all nodes and resources.
func (c *Client) Status(ctx context.Context) (cib.Status, error) {
	return c.status(ctx, "nodes,resources")
}

// Places implements hbplugin.Cluster.
func (c *Client) Places(ctx context.Context) (hbplugin.Places, error) {
	node, err := c.NodeName(ctx)
	if err != nil {
		return hbplugin.Places{}, err
	}
	status, err := c.Status(ctx)
	if err != nil {
		return hbplugin.Places{}, err
	}
	p := hbplugin.Places{Node: node, On: map[string][]string{}}
	for name, place := range status.Places {
		p.On[name] = place.Nodes
	}
	return p, nil
}

var errNotRunning = errors.New("pacemaker does not run on this node: type systemctl start pacemaker")

// alive is this node's name; it is an error where Pacemaker does not run.
func (c *Client) alive(ctx context.Context) (node string, err error) {
	alive, err := daemonAlive(ctx, hostproc.Host{Proc: c.Proc, Etc: c.Etc})
	if err == nil && !alive {
		err = errNotRunning
	}
	if err != nil {
		return "", err
	}
	return c.NodeName(ctx)
}

// Standby implements hbplugin.Manager: it sets the transient attribute.
func (c *Client) Standby(ctx context.Context) error {
	return c.attribute(ctx, "--update", "on")
}

// Unstandby implements hbplugin.Manager: it deletes the transient attribute,
// so that a permanent one, which is an operator's, decides again.
func (c *Client) Unstandby(ctx context.Context) error {
	return c.attribute(ctx, "--delete")
}

func (c *Client) attribute(ctx context.Context, verb ...string) error {
	node, err := c.NodeName(ctx)
	if err != nil {
		return err
	}
	args := append([]string{"--node", node, "--name", "standby", "--lifetime", "reboot"}, verb...)
	_, err = c.run(ctx, "crm_attribute", args...)
	return err
}

// NodeName returns this node's name in the cluster, which need not be its host
// name. crm_node is asked once: the name cannot change while Pacemaker runs.
func (c *Client) NodeName(ctx context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.Node != "" {
		return c.Node, nil
	}
	if c.name != "" {
		return c.name, nil
	}
	out, err := c.run(ctx, "crm_node", "--name")
	if err != nil {
		return "", err
	}
	name := strings.TrimSpace(out)
	if name == "" || strings.ContainsAny(name, " \t\n") {
		return "", fmt.Errorf("crm_node --name: %q is not a node name", name)
	}
	c.name = name
	return name, nil
}

func (c *Client) run(ctx context.Context, program string, args ...string) (string, error) {
	if c.Run != nil {
		return c.Run(ctx, program, args...)
	}
	return Exec(ctx, program, args...)
}

// Exec is the command that really runs a program, found on PATH. When ctx ends
// it is told to stop with SIGTERM, then killed.
func Exec(ctx context.Context, name string, args ...string) (string, error) {
	return ExecBy(nil)(ctx, name, args...)
}

// ExecBy is Exec for one who starts programs in a way of his own: see [command.How].
func ExecBy(start func(*exec.Cmd) error) command.Runner {
	return func(ctx context.Context, name string, args ...string) (string, error) {
		environ := append(slices.DeleteFunc(os.Environ(), misleads), "LC_ALL=C")
		out, errs, err := command.How{Environ: environ, Grace: killAfter, Start: start}.Run(ctx, name, args...)
		return string(out), explain(ctx, strings.Join(append([]string{name}, args...), " "), err, string(errs))
	}
}

// misleads reports whether a variable lets Pacemaker's programs read or write another CIB than the cluster's:
// CIB_file, CIB_shadow, CIB_server and the like are for an operator's own experiments.
func misleads(variable string) bool { return strings.HasPrefix(variable, "CIB_") }

// explain turns a failed run into one line.
func explain(ctx context.Context, line string, err error, stderr string) error {
	cause := context.Cause(ctx)
	switch {
	case err == nil:
		return nil
	case cause != nil:
		return fmt.Errorf("%s: no answer: %w", line, cause)
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("%s: %w", line, exec.ErrNotFound)
	}
	return fmt.Errorf("%s: %w", line, command.Explain(stderr, err))
}

// daemonUser is the user of those of Pacemaker's daemons that do not run as root (CRM_DAEMON_USER of its build).
const daemonUser = "hacluster"

// daemonAlive says whether any of Pacemaker's daemons lives on this node.
// pacemakerd may have crashed and be about to be started again while the
// others carry on, so each counts; their names all begin alike (the kernel
// keeps 15 characters: "pacemaker-contr"). Anybody may call a program so: they
// are known by their users, root and hacluster, and daemons in a container,
// such as pacemaker-remoted inside a bundle's, are not this node's.
// A process that cannot be judged makes the question unanswerable, unless another one is a daemon for certain.
func daemonAlive(ctx context.Context, h hostproc.Host) (bool, error) {
	users := []int{0}
	if uid, ok := h.UserID(daemonUser); ok {
		users = append(users, uid)
	}
	alive, err := h.HasDaemon(ctx, isDaemon, users...)
	if err != nil {
		return false, fmt.Errorf("look for pacemaker's daemons: %w", err)
	}
	return alive, nil
}

func isDaemon(program string) bool { return strings.HasPrefix(program, "pacemaker") }

// ownNode finds this node in a status.
func ownNode(s cib.Status, node string) (cib.Node, error) {
	own, known := s.Node(node)
	if !known {
		return own, fmt.Errorf("read crm_mon's status: node %q is not in the cluster", node)
	}
	return own, nil
}

// viewOf is what a status says of the node: whether it is in standby, and which resources of the given agents are on
// it. Primitives count wherever they are: alone, in a group, a clone or a bundle.
//
// A resource is on the node when the node is listed under it, whatever its
// role: a failed or half-started guest may be running all the same.
func viewOf(s cib.Status, own cib.Node, agents []string) hbplugin.View {
	return hbplugin.View{Running: true, Standby: own.Standby, Guests: guests(s, own.Name, agents)}
}

// guests are the resources of our agents on a node. A name is taken once: the instances of a clone share it.
func guests(s cib.Status, node string, agents []string) []hbplugin.Guest {
	var out []hbplugin.Guest
	for _, p := range s.Resources {
		same := func(g hbplugin.Guest) bool { return g.Name == p.ID }
		if slices.Contains(agents, p.Agent) && slices.Contains(p.Nodes, node) && !slices.ContainsFunc(out, same) {
			out = append(out, hbplugin.Guest{Name: p.ID, Moving: p.Pending != "", Stuck: stuck(p)})
		}
	}
	return out
}

// stuck says why Pacemaker will not touch a resource: it was told not to, or a
// failed stop has blocked it until an operator cleans up.
func stuck(p cib.Place) string {
	switch {
	case p.Maintenance:
		return "in maintenance"
	case p.Blocked:
		return "blocked"
	case !p.Managed:
		return "unmanaged"
	}
	return ""
}

// peers are all nodes but this one that can run guests: members and remote nodes, and no guest node nor bundle node.
// Fenced nodes are PeerDown here; see [Client.Peers].
func peers(s cib.Status, node string) []elsewhere.Peer {
	states := map[cib.NodeState]elsewhere.PeerState{cib.Online: elsewhere.PeerUp, cib.Offline: elsewhere.PeerDown}
	var out []elsewhere.Peer
	for _, n := range s.Nodes {
		if n.Host() && n.Name != node {
			out = append(out, elsewhere.Peer{Name: n.Name, State: states[n.State]})
		}
	}
	return out
}
