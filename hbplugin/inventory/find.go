package inventory

import (
	"fmt"
	"strings"
)

// Find is the guest of that name, or the one that is the resource of that name.
func (inv *Inventory) Find(name string) (*Guest, error) {
	var found *Guest
	for _, g := range inv.Guests {
		if g.Name == name || found == nil && g.Claim != nil && g.Claim.Resource == name {
			found = g
		}
	}
	if found == nil || !found.IsHere() {
		if len(inv.Problems) > 0 {
			return nil, fmt.Errorf("guest %q was not found on this node, and not everybody answered: %s", name,
				strings.Join(inv.Problems, "; "))
		}
		return nil, fmt.Errorf("guest %q does not run on this node: vmferry status lists those that do", name)
	}
	return found, nil
}

// ManagerOf is the manager that has the guest, "" for none. It is an error
// where that is not certain: a guest that is moved behind its manager's back is
// started a second time.
func (inv *Inventory) ManagerOf(g *Guest) (string, error) {
	if g.Claim != nil {
		return g.Claim.Manager, nil
	}
	for _, m := range inv.Managers {
		if m.Err != nil {
			return "", fmt.Errorf("cannot tell whether %s has guest %q: %w: type systemctl status %[1]s, or stop it",
				m, g.Name, m.Err)
		}
	}
	if inv.Unsure != nil {
		return "", fmt.Errorf("cannot tell whether a cluster manager has guest %q: %w", g.Name, inv.Unsure)
	}
	for _, cl := range inv.Claims {
		if cl.Guessed {
			return "", fmt.Errorf("cannot tell whether guest %q is the resource %q: its file %q cannot be read on "+
				"this node", g.Name, cl.Resource, cl.Environ.Params.File())
		}
	}
	if g.Noted && len(inv.Managers) == 0 {
		return "", fmt.Errorf("guest %q is a cluster's, and the cluster manager does not run here: type systemctl "+
			"start pacemaker, or heartbeat", g.Name)
	}
	return "", nil
}
