package heartbeat

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/pacemaker"
	"github.com/vmferry/vmferry/resource/command"
	"github.com/vmferry/vmferry/resource/elsewhere"
	"github.com/vmferry/vmferry/resource/hostproc"
)

const (
	defaultHaresources = "/etc/ha.d/haresources"
	defaultPIDFile     = "/run/heartbeat.pid"
)

// scriptDirs is where distributions put hb_standby and hb_takeover.
var scriptDirs = []string{"/usr/share/heartbeat", "/usr/lib/heartbeat", "/usr/lib64/heartbeat",
	"/usr/libexec/heartbeat"}

// Client speaks to the Heartbeat of this node. The zero value is useful.
type Client struct {
	Node        string         // this node's name, as uname -n has it; empty: ask the kernel
	Run         command.Runner // nil: pacemaker.Exec
	Proc        string         // where procfs is; empty: /proc
	PIDFile     string         // the daemon's; empty: /run/heartbeat.pid
	Haresources string         // empty: /etc/ha.d/haresources
	Scripts     string         // the directory of hb_standby; empty: where distributions have it
}

// String names the manager in messages.
func (*Client) String() string { return "heartbeat" }

// View implements hbplugin.Manager. The node counts as in standby when there
// is nothing to ask Heartbeat for: it holds nothing, or is moving resources
// already, or has no other node to give them to. In the last case the guests
// are stuck here. While resources move, the guests of both nodes are listed:
// Heartbeat does not say which of them it has let go.
func (c *Client) View(ctx context.Context) (hbplugin.View, error) {
	alive, err := daemonAlive(ctx, cmp.Or(c.PIDFile, defaultPIDFile), hostproc.Host{Proc: c.Proc})
	if err != nil || !alive {
		return hbplugin.View{}, err
	}
	state, err := c.state(ctx)
	if err != nil {
		return hbplugin.View{}, err
	}
	guests, err := c.guests(state)
	if err != nil {
		return hbplugin.View{}, err
	}
	v := hbplugin.View{Running: true, Standby: state == none || state == transition, Guests: guests}
	if v.Standby {
		return v, nil
	}
	peers, err := c.Peers(ctx)
	if err != nil {
		return hbplugin.View{}, err
	}
	if len(hbplugin.Up(peers)) == 0 {
		v.Standby = true
		strand(v.Guests)
	}
	return v, nil
}

// strand marks guests that nobody can take. Heartbeat ignores a request for
// standby then.
func strand(guests []hbplugin.Guest) {
	for i := range guests {
		guests[i].Stuck = cmp.Or(guests[i].Stuck, "no other node is active")
	}
}

// guests lists those that haresources gives the node in this state.
func (c *Client) guests(s state) ([]hbplugin.Guest, error) {
	entries, err := c.held(s)
	var guests []hbplugin.Guest
	for _, e := range entries {
		guests = append(guests, hbplugin.Guest{Name: e.Name, Moving: s == transition, Stuck: e.Stuck})
	}
	return guests, err
}

// held are the guests that this node may hold in a state.
func (c *Client) held(s state) ([]Entry, error) {
	node, err := c.node()
	if err != nil {
		return nil, err
	}
	entries, err := c.entries()
	isElsewhere := func(e Entry) bool { return !s.includes(e.Node == strings.ToLower(node)) }
	return slices.DeleteFunc(entries, isElsewhere), err
}

// entries are the guests of haresources.
func (c *Client) entries() ([]Entry, error) {
	text, err := os.ReadFile(cmp.Or(c.Haresources, defaultHaresources))
	if err != nil {
		return nil, fmt.Errorf("find heartbeat's guests: %w", err)
	}
	return ParseHaresources(string(text)), nil
}

// Standby implements hbplugin.Manager with "hb_standby all", which only sends
// the request. Heartbeat ignores it while an earlier one is being carried out.
func (c *Client) Standby(ctx context.Context) error {
	return c.script(ctx, "hb_standby", "all")
}

// Unstandby implements hbplugin.Manager with "hb_takeover local": what
// haresources gives to this node comes home, and what it gives to the other one
// stays there. It is an error while resources move, as Heartbeat would ignore
// the request. Where the local ones are here, nothing is requested.
func (c *Client) Unstandby(ctx context.Context) error {
	state, err := c.state(ctx)
	switch {
	case err != nil:
		return err
	case state == transition:
		return errors.New("hb_takeover local: heartbeat is still moving resources")
	case state.includes(true):
		return nil
	}
	return c.script(ctx, "hb_takeover", "local")
}

// Nodes lists the other nodes of the cluster, each as PeerUnknown; ping nodes
// are none. It is for a start, in which clients wait, and to which it makes no
// difference whether Heartbeat is up there.
func (c *Client) Nodes(ctx context.Context) ([]elsewhere.Peer, error) {
	own, err := c.node()
	if err != nil {
		return nil, err
	}
	out, err := c.run(ctx, "cl_status", "listnodes", "-n")
	if err != nil {
		return nil, err
	}
	nodes, err := parseNodes(out)
	if err != nil {
		return nil, err
	}
	isOwn := func(node string) bool { return strings.EqualFold(node, own) }
	if !slices.ContainsFunc(nodes, isOwn) {
		return nil, fmt.Errorf("cl_status listnodes: node %q is not in the cluster of %q", own, nodes)
	}
	var others []elsewhere.Peer
	for _, node := range slices.DeleteFunc(nodes, isOwn) {
		others = append(others, elsewhere.Peer{Name: node, State: elsewhere.PeerUnknown})
	}
	return others, nil
}

// Peers is Nodes with those PeerUp that are [Client.Alive]. One that Heartbeat
// calls dead stays PeerUnknown and is not PeerDown: it was not heard of for the
// deadtime, and nobody need have switched it off.
func (c *Client) Peers(ctx context.Context) ([]elsewhere.Peer, error) {
	peers, err := c.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	for i := range peers {
		alive, err := c.Alive(ctx, peers[i].Name)
		if err != nil {
			return nil, err
		}
		if alive {
			peers[i].State = elsewhere.PeerUp
		}
	}
	return peers, nil
}

// Alive says whether Heartbeat on another node is up and takes part in the
// cluster. A node that is only starting does not yet.
func (c *Client) Alive(ctx context.Context, node string) (bool, error) {
	out, err := c.run(ctx, "cl_status", "nodestatus", node)
	alive, known := parseNodeStatus(out)
	switch {
	case ctx.Err() != nil:
		return false, fmt.Errorf("cl_status nodestatus %s: %w", node, context.Cause(ctx))
	case known: // the exit code is 1 for a dead node as for a failure
		return alive, nil
	case err != nil:
		return false, err
	}
	return false, fmt.Errorf("cl_status nodestatus %s: %q is not a status", node, strings.TrimSpace(out))
}

// Deadtime is how long Heartbeat continues calling a node alive of which it has heard nothing.
func (c *Client) Deadtime(ctx context.Context) (time.Duration, error) {
	out, err := c.run(ctx, "cl_status", "hbparameter", "-p", "deadtime")
	if err != nil {
		return 0, err
	}
	return parseDeadtime(out)
}

func (c *Client) state(ctx context.Context) (state, error) {
	out, err := c.run(ctx, "cl_status", "rscstatus")
	if err != nil {
		return "", err
	}
	return parseState(out)
}

// node is this node's name. Heartbeat takes it from uname -n too.
func (c *Client) node() (string, error) {
	if c.Node != "" {
		return c.Node, nil
	}
	name, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("name this node: %w", err)
	}
	return name, nil
}

// script runs one of Heartbeat's own scripts, which are on nobody's PATH.
func (c *Client) script(ctx context.Context, name string, args ...string) error {
	_, err := c.run(ctx, filepath.Join(c.scripts(name), name), args...)
	return err
}

// scripts is the directory of a script. Where none has it, running it in the
// first gives the error.
func (c *Client) scripts(name string) string {
	if c.Scripts != "" {
		return c.Scripts
	}
	i := slices.IndexFunc(scriptDirs, func(dir string) bool {
		_, err := os.Stat(filepath.Join(dir, name))
		return err == nil
	})
	return scriptDirs[max(i, 0)]
}

func (c *Client) run(ctx context.Context, program string, args ...string) (string, error) {
	if c.Run != nil {
		return c.Run(ctx, program, args...)
	}
	return pacemaker.Exec(ctx, program, args...)
}

// comm is the daemon's name in the process table.
const comm = "heartbeat"

// daemonAlive says whether the process lives that the daemon's PID file names.
// The daemon writes the file before it does anything else and refuses to start
// a second time next to a living one. The name, and that root runs it, tell it from whoever got its
// number after it died.
func daemonAlive(ctx context.Context, pidFile string, h hostproc.Host) (bool, error) {
	text, err := os.ReadFile(pidFile)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for heartbeat's daemon: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 0 {
		return false, fmt.Errorf("look for heartbeat's daemon: %s names no process: %.40q", pidFile, text)
	}
	alive, err := h.IsDaemon(ctx, pid, func(program string) bool { return program == comm }, 0)
	if err == nil && !alive {
		err = h.SeesAll()
	}
	if err != nil {
		return false, fmt.Errorf("look for heartbeat's daemon: process %d: %w", pid, err)
	}
	return alive, nil
}
