package inventory

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/managers"
	"github.com/vmferry/vmferry/hbplugin/pacemaker"
	"github.com/vmferry/vmferry/hbplugin/pacemaker/cib"
	"github.com/vmferry/vmferry/resource"
	"github.com/vmferry/vmferry/resource/notes"
)

// Claim is a guest that a cluster manager is configured to run, here or elsewhere.
type Claim struct {
	hbplugin.Claim
	Manager string
	Guest   string // libvirt's name
	Guessed bool   // the guest's file could not be read: Guest is the file's name
}

// IsRuled reports whether a rule of the manager's decides one of these parameters, meta attributes or actions.
func (c *Claim) IsRuled(names ...string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return slices.Contains(c.Ruled, n) })
}

// IsPinned reports whether the resource says itself that its guest is never moved live.
func (c *Claim) IsPinned() bool {
	value, set := c.Meta["allow-migrate"]
	return !c.Environ.Params.Ladder.MovesLive() || set && !cib.Bool(value, true)
}

// claims are those of all managers that run here. An error means that some may be missing.
func (s Sources) claims(ctx context.Context, running []Manager, noted []notes.Guest) ([]Claim, error) {
	var all []Claim
	var errs []error
	for _, m := range running {
		found, err := managers.Ask(ctx, m.Claims)
		if err != nil {
			errs = append(errs, fmt.Errorf("cannot tell which guests %s has: %w", m, err))
		}
		for _, f := range found {
			c := Claim{Claim: f, Manager: m.String()}
			c.Guest, c.Guessed = s.guestOf(f, noted)
			all = append(all, c)
		}
	}
	return all, errors.Join(errs...)
}

// guestOf finds out which guest a claim is about: from the agent's note, else from the guest's file, else by the file's
// name.
func (s Sources) guestOf(c hbplugin.Claim, noted []notes.Guest) (name string, guessed bool) {
	i := slices.IndexFunc(noted, func(e notes.Guest) bool { return e.Resource == c.Resource })
	if i >= 0 {
		return noted[i].Guest, false
	}
	file := c.Environ.Params.File()
	if name, err := resource.GuestName(s.Path(file)); err == nil {
		return name, false
	}
	return strings.TrimSuffix(filepath.Base(file), filepath.Ext(file)), true
}

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
