package hbplugin

import (
	"context"
	"fmt"

	"github.com/vmferry/vmferry/resource/elsewhere"
	"github.com/vmferry/vmferry/resource/param"
)

// Manager is the cluster manager of this node. Implementations must be safe
// for use by one goroutine at a time, must obey the context's deadline, and
// must return an error where they do not know: a guess would let the machine
// go down under a guest.
type Manager interface {
	fmt.Stringer

	// View says what the manager knows of this node. A manager that does not
	// run here is no error: that is View{Running: false}. A manager that runs
	// and does not answer is one.
	View(ctx context.Context) (View, error)

	// Standby asks that the manager moves everything off this node and puts
	// nothing on it. It returns when the request is accepted, not when the
	// guests have gone, and may be repeated. The request must not outlive a
	// reboot of the node.
	Standby(ctx context.Context) error

	// Unstandby takes back what Standby requested, and nothing that an
	// operator requested by other means.
	Unstandby(ctx context.Context) error
}

// View is one look at this node through the manager.
type View struct {
	Running bool    // the manager runs on this node
	Standby bool    // the node is in standby, whoever requested it
	Guests  []Guest // the guests that the manager has on this node, by name
}

// Guest is a guest on this node, as the manager sees it.
type Guest struct {
	Name   string // the manager's name of it, such as the resource's id
	Moving bool   // the manager is at work on it
	Stuck  string // not empty: why the manager will never move it, such as "unmanaged"
}

// Fate is what becomes of a guest when its node goes into standby.
type Fate string

// The fates. Only the first two keep the guest running.
const (
	MovesLive Fate = "moves live"          // by live migration, and nothing else changes
	MovesWith Fate = "moves with"          // by live migration, and something goes along or stays behind: Verdict.With
	Restarts  Fate = "restarted elsewhere" // it is stopped here and started on another node
	Stops     Fate = "stopped, no place"   // it is stopped here, and no other node takes it
	Stays     Fate = "stays"               // the manager leaves it on this node
	Unknown   Fate = "cannot tell"         // Verdict.Why has the reason
)

// KeepsRunning reports whether clients keep their guest: it is moved live.
func (f Fate) KeepsRunning() bool { return f == MovesLive || f == MovesWith }

// Verdict is what will become of one guest of this node when the node goes into standby: by the cluster
// manager's word, and, where that is a live migration, by the target's.
type Verdict struct {
	Resource string   `json:"resource"` // the manager's name of the guest
	Fate     Fate     `json:"fate"`
	To       string   `json:"to,omitempty"`     // the node that takes it, where that is known
	With     []string `json:"with,omitempty"`   // what goes along or stays behind: "disk vda (3 GiB) is copied"
	Why      string   `json:"why,omitempty"`    // why it is not moved live, in the scheduler's own words if any
	Remedy   string   `json:"remedy,omitempty"` // what to type, or to do, so that it is moved live
	Others   []string `json:"-"`                // nodes besides To on which the manager may start it
}

// Claim is a guest that a cluster manager is configured to run, on this node or elsewhere.
type Claim struct {
	Resource string            // the manager's name of it
	Agent    string            // whose resource it is, such as "ocf:vmferry:Domain"; empty: vmferry's own
	Environ  param.Environ     // its parameters, read as the agent reads them
	Meta     map[string]string // Pacemaker's meta attributes, defaults included; nil from other managers
	Timeouts map[string]string // by action: the time-out that the manager gives it, as written, defaults included
	Ruled    []string          // parameters, meta attributes and actions that a rule of Pacemaker's decides
}

// OwnAgent is vmferry's agent by the name that Pacemaker has for it.
const OwnAgent = "ocf:vmferry:Domain"

// Foreign reports whether another agent runs the guest: what that one does with its parameters is not known here.
func (c Claim) Foreign() bool { return c.Agent != "" && c.Agent != OwnAgent }

// EnvironOf reads the parameters of a resource as the agent reads them.
func EnvironOf(id string, params map[string]string) param.Environ {
	env := []string{"OCF_RESOURCE_INSTANCE=" + id}
	for name, value := range params {
		env = append(env, "OCF_RESKEY_"+name+"="+value)
	}
	return param.ParseEnviron(env)
}

// Cluster is a cluster manager as it is asked about more than this node. It changes nothing.
type Cluster interface {
	Manager
	// Forecast says what the manager would do with each guest on this node if the node went into standby
	// now: a Verdict for each of its guests here, by the manager's rules alone. The target is not asked.
	Forecast(ctx context.Context) ([]Verdict, error)
	// Claims lists the guests that the manager is configured to run, wherever they are now.
	Claims(ctx context.Context) ([]Claim, error)
	// Peers lists the other nodes of the cluster.
	Peers(ctx context.Context) ([]elsewhere.Peer, error)
	// Resources lists all that the manager is configured to run, of whatever agent. Of each only the name is certain.
	Resources(ctx context.Context) ([]Claim, error)
	// Places says where each resource is now, and what this node is called. It is an error where the manager does
	// not know that of the other nodes.
	Places(ctx context.Context) (Places, error)
}

// Places is where resources are.
type Places struct {
	Node string              // this node
	On   map[string][]string // the nodes on which each resource is active
}

// Up names those of the nodes that can take guests now.
func Up(peers []elsewhere.Peer) (nodes []string) {
	for _, p := range peers {
		if p.State == elsewhere.PeerUp {
			nodes = append(nodes, p.Name)
		}
	}
	return nodes
}
