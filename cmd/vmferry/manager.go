package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/heartbeat"
	"github.com/vmferry/vmferry/hbplugin/pacemaker"
	"github.com/vmferry/vmferry/hbplugin/pacemaker/cib"
	"github.com/vmferry/vmferry/hbplugin/shutdown"
	"github.com/vmferry/vmferry/resource"
)

// peered is a manager that knows the other nodes.
type peered interface {
	hbplugin.Manager
	hbplugin.Forecaster
	Peers(ctx context.Context) ([]resource.Peer, error)
}

// managed is a cluster manager that runs here, or of which that cannot be told.
type managed struct {
	peered
	view hbplugin.View
	err  error // why there is no view
}

func (m managed) pacemaker() bool { return m.String() == managerPacemaker }

// candidates are the managers that the configuration allows.
func (c *call) candidates() []peered {
	p := &pacemaker.Client{Agents: c.config.Agents, Node: c.config.Node, Run: c.run, Proc: c.path("/proc"),
		Etc: c.path("/etc")}
	h := &heartbeat.Client{Node: c.config.Node, Run: c.run, Proc: c.path("/proc"), PIDFile: c.path("/run/heartbeat.pid"),
		Haresources: c.path(haresources)}
	if c.root != "" {
		h.Scripts = c.path("/usr/share/heartbeat")
	}
	switch c.config.Manager {
	case managerPacemaker:
		return []peered{p}
	case managerHeartbeat:
		return []peered{h}
	}
	return []peered{p, h}
}

const haresources = "/etc/ha.d/haresources"

// managers looks which managers run here. Normally that is one.
func (c *call) managers(ctx context.Context) []managed {
	var found []managed
	for _, m := range c.candidates() {
		view, err := look(ctx, m)
		if err != nil || view.Running {
			found = append(found, managed{m, view, err})
		}
	}
	return found
}

func look(ctx context.Context, m hbplugin.Manager) (hbplugin.View, error) {
	ctx, cancel := context.WithTimeout(ctx, managerTime)
	defer cancel()
	return m.View(ctx)
}

var errNoManager = errors.New("no cluster manager runs on this node: type systemctl start pacemaker, or heartbeat; a guest that no cluster has is moved with vmferry migrate GUEST NODE")

// manager is the one that runs here, and nothing less than certain.
func (c *call) manager(ctx context.Context) (managed, error) {
	found := c.managers(ctx)
	switch {
	case len(found) == 0:
		return managed{}, errNoManager
	case len(found) > 1:
		return managed{}, fmt.Errorf("both pacemaker and heartbeat run on this node: name one of them as manager in %s", c.configPath)
	case found[0].err != nil:
		return managed{}, fmt.Errorf("%s does not answer: %w: type systemctl status %[1]s", found[0], found[0].err)
	}
	return found[0], nil
}

// ownNode refuses the name of any node but this one: a manager takes standby for
// another node too, but nobody would count the guests there.
func (c *call) ownNode(ctx context.Context, m managed, node string) (string, error) {
	own, err := c.nodeName(ctx, []managed{m})
	if err != nil {
		return "", err
	}
	if node != "" && !strings.EqualFold(node, own) {
		return "", misuse("%s: this is node %q: on %s, type vmferry %s", c.name, own, node, c.name)
	}
	return own, nil
}

// drained is the note that an operator has drained this node with this program.
func (c *call) drained() shutdown.Intent { return shutdown.OperatorIntent(c.path(c.config.StateDir)) }

// forShutdown is vmferryd's own note.
func (c *call) forShutdown() shutdown.Intent { return shutdown.DaemonIntent(c.path(c.config.StateDir)) }

// crmNode asks Pacemaker for this node's name.
func (c *call) crmNode(ctx context.Context) (string, error) {
	out, err := c.query(ctx, "crm_node", "--name")
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(out)), nil
}

func (c *call) query(ctx context.Context, program string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, managerTime)
	defer cancel()
	return c.machine.run(ctx, program, args...)
}

// configuration reads Pacemaker's configuration.
func (c *call) configuration(ctx context.Context) (cib.Config, error) {
	out, err := c.query(ctx, "cibadmin", "--query", "--scope=configuration")
	if err != nil {
		return cib.Config{}, err
	}
	return cib.ParseConfig(bytes.NewReader(out))
}

// crmStatus looks where Pacemaker has its resources.
func (c *call) crmStatus(ctx context.Context) (cib.Status, error) {
	out, err := c.query(ctx, "crm_mon", "--output-as=xml", "--exclude=all", "--include=nodes,resources", "-1")
	if err != nil {
		return cib.Status{}, err
	}
	return cib.ParseStatus(bytes.NewReader(out))
}
