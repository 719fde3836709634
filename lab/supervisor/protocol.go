package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// Op is what a [Request] asks for.
type Op string

// The power actions are the words of the fence agent API; kill and stop are
// the lab's own and are not answered on the power switch.
const (
	OpStatus Op = "status" // state of all nodes
	OpOff    Op = "off"    // kill the node and prove that it is gone
	OpOn     Op = "on"     // boot the node if it is down
	OpReboot Op = "reboot" // off, then on
	OpKill   Op = "kill"   // as off, but a failure of the lab's making, not a fence
	OpStop   Op = "stop"   // end the lab
	OpFreeze Op = "freeze" // stop every process of the node, as a hang does
	OpThaw   Op = "thaw"   // continue them

	// On a lab whose nodes run the guard, the power switch answers for the storage, too.
	OpRevoke Op = "revoke" // end the node's access to the guests' disks and prove it
	OpAdmit  Op = "admit"  // open it again
)

// Request is one line of JSON that a client sends; one request a connection.
type Request struct {
	Op   Op     `json:"op"`
	Node string `json:"node,omitempty"`

	Generation uint64 `json:"generation,omitempty"` // of the node's lease, for OpRevoke and OpAdmit
}

// Reply is the one line that comes back.
type Reply struct {
	Error string           `json:"error,omitempty"`
	Nodes map[string]State `json:"nodes,omitempty"` // by name, for OpStatus
	Fence []FenceEvent     `json:"fence,omitempty"` // since the lab was started, oldest first

	Hypervisor string `json:"hypervisor,omitempty"` // of the nodes: [QEMU] or [Xen]
	Shape      string `json:"shape,omitempty"`      // of the cluster, as in [Config]
	// Login is the ssh_config(5) file by which commands reach the nodes; empty
	// when they are run in the namespaces of a node's leader.
	Login string `json:"login,omitempty"`
}

// State is what the supervisor knows of a node.
type State struct {
	Up     bool `json:"up"`
	Leader int  `json:"leader,omitempty"` // process id in the lab's namespace; 0 while the node is down
	Boots  int  `json:"boots"`            // how often it was booted
}

// FenceEvent is one power action that a cluster requested.
type FenceEvent struct {
	Node  string    `json:"node"`
	Op    Op        `json:"op"`
	Asked time.Time `json:"asked"`
	Done  time.Time `json:"done"` // zero while it is being carried out
	Error string    `json:"error,omitempty"`
}

// Ask sends one request to the supervisor and returns the reply. address is
// the path of a socket, or HOST:PORT. An error
// that the supervisor reports is returned as an error. It ends with ctx.
func Ask(ctx context.Context, address string, req Request) (Reply, error) {
	var dialer net.Dialer
	network := "tcp"
	if strings.HasPrefix(address, "/") {
		network = "unix"
	}
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return Reply{}, fmt.Errorf("reach the lab's supervisor: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := json.NewEncoder(conn).Encode(req); err != nil {
		return Reply{}, fmt.Errorf("ask the lab's supervisor for %q: %w", req.Op, err)
	}
	var reply Reply
	if err := json.NewDecoder(conn).Decode(&reply); err != nil {
		return Reply{}, fmt.Errorf("ask the lab's supervisor for %q: %w", req.Op, err)
	}
	if reply.Error != "" {
		return reply, errors.New(reply.Error)
	}
	return reply, nil
}
