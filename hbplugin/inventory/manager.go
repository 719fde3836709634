package inventory

import (
	"context"
	"fmt"
	"os"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/managers"
	"github.com/vmferry/vmferry/hbplugin/pacemaker"
)

// Manager is a cluster manager that runs here, or of which that cannot be told.
type Manager struct {
	hbplugin.Cluster
	Seen hbplugin.View
	Err  error // why Seen is empty
}

// Pacemaker is the client of a manager that is Pacemaker, nil of another.
func (m Manager) Pacemaker() *pacemaker.Client {
	p, _ := m.Cluster.(*pacemaker.Client)
	return p
}

// PeersUp are the other nodes that can take guests now.
func (m Manager) PeersUp(ctx context.Context) ([]string, error) {
	peers, err := managers.Ask(ctx, m.Peers)
	return hbplugin.Up(peers), err
}

// Managers asks which of the managers run here. Normally that is one.
func Managers(ctx context.Context, all []hbplugin.Cluster) []Manager {
	var found []Manager
	for _, m := range all {
		view, err := managers.Ask(ctx, m.View)
		if err != nil || view.Running {
			found = append(found, Manager{m, view, err})
		}
	}
	return found
}

// NodeName is what the configuration or the cluster calls this node, else its host name.
func NodeName(ctx context.Context, configured string, running []Manager) (string, error) {
	if configured != "" {
		return configured, nil
	}
	for _, m := range running {
		if p := m.Pacemaker(); p != nil {
			return managers.Ask(ctx, p.NodeName)
		}
	}
	name, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("name this node: %w", err)
	}
	return name, nil
}
