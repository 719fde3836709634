package inventory

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/verdict"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/hostproc"
	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/param"
)

// Guest is one that is on this node by anybody's word.
type Guest struct {
	Name      string
	UUID      string
	URI       string          // the libvirt that has it
	Claim     *Claim          // the resource that it is, nil for none
	Noted     bool            // vmferry's agent noted that it runs here
	View      *hbplugin.Guest // what the manager that has it here says of it
	Libvirt   *libvirt.Status // nil where libvirt knows none or did not answer
	Process   int             // the number of its QEMU, or of its domain of Xen's; 0 for none
	Incoming  bool            // that process only receives it
	Condition string          // what else the hypervisor itself says of it, empty where it is alive
}

// IsHere reports whether anything of the guest is on this node: what a drain waits for.
func (g *Guest) IsHere() bool { return g.View != nil || g.Process != 0 || g.IsActive() }

// IsActive reports whether libvirt has it running or paused.
func (g *Guest) IsActive() bool { return g.Libvirt != nil && g.Libvirt.State.Active() }

// Inventory is all guests of this node, by name, and whom there was no answer from.
type Inventory struct {
	Node       string
	Managers   []Manager
	Claims     []Claim
	URIs       []string         // the libvirts of this node that are in use
	Unanswered map[string]error // those that did not answer
	Hidden     error            // why the processes are not all known
	Unsure     error            // why the claims are not all known
	Guests     []*Guest
	Problems   []string
}

// Sources are where an inventory is read from.
type Sources struct {
	Managers  []hbplugin.Cluster // those that the configuration allows
	Node      string             // this node's name by the configuration; empty: see [NodeName]
	GuestsDir string             // of the agent's notes
	Path      func(name string) string
	Open      Opener
	Processes func(ctx context.Context, uris ...string) ([]hostproc.Process, error) // of the guests of these libvirts
}

// Survey asks everybody. It never fails: who gave no answer is in Problems.
func (s Sources) Survey(ctx context.Context) *Inventory {
	inv := &Inventory{Managers: Managers(ctx, s.Managers), Unanswered: map[string]error{}}
	noted, err := notes.GuestsIn(s.Path(s.GuestsDir)).All()
	inv.note(err)
	for _, m := range inv.Managers {
		inv.note(m.Err)
	}
	inv.Node, err = NodeName(ctx, s.Node, inv.Managers)
	inv.note(err)
	inv.Claims, inv.Unsure = s.claims(ctx, inv.Managers, noted)
	inv.note(inv.Unsure)
	inv.addNotes(noted)
	inv.addViews()
	inv.URIs = inv.hypervisors(s)
	inv.askLibvirts(ctx, s.Open)
	found, err := s.Processes(ctx, inv.URIs...)
	inv.Hidden = err
	inv.note(err)
	inv.addProcesses(found)
	inv.attach()
	slices.SortFunc(inv.Guests, func(a, b *Guest) int { return cmp.Compare(a.Name, b.Name) })
	return inv
}

func (inv *Inventory) note(err error) {
	if err != nil {
		inv.Problems = append(inv.Problems, verdict.OneLine(err))
	}
}

// of is the guest of that name, a new one if need be.
func (inv *Inventory) of(name string) *Guest {
	for _, g := range inv.Guests {
		if g.Name == name {
			return g
		}
	}
	g := &Guest{Name: name}
	inv.Guests = append(inv.Guests, g)
	return g
}

func (inv *Inventory) addNotes(noted []notes.Guest) {
	for _, e := range noted {
		g := inv.of(e.Guest)
		g.UUID, g.URI, g.Noted = e.UUID, e.URI, true
	}
}

// addViews adds what the managers have here. A resource that nothing else is
// known of goes by its own name.
func (inv *Inventory) addViews() {
	for _, m := range inv.Managers {
		for _, v := range m.Seen.Guests {
			name := v.Name
			of := func(cl Claim) bool { return cl.Resource == v.Name && cl.Manager == m.String() }
			if cl := inv.ClaimOf(of); cl != nil {
				name = cl.Guest
			}
			inv.of(name).View = &v
		}
	}
}

// ClaimOf is the first claim of which is holds, nil where there is none.
func (inv *Inventory) ClaimOf(is func(Claim) bool) *Claim {
	if i := slices.IndexFunc(inv.Claims, is); i >= 0 {
		return &inv.Claims[i]
	}
	return nil
}

// attach gives each guest its claim, and its libvirt where nobody has seen it.
func (inv *Inventory) attach() {
	for _, g := range inv.Guests {
		g.Claim = inv.ClaimOf(func(cl Claim) bool { return cl.Guest == g.Name })
		if g.URI == "" && g.Claim != nil {
			g.URI = g.Claim.Environ.Params.Hypervisor
		}
		if g.URI == "" && len(inv.URIs) > 0 {
			g.URI = inv.URIs[0]
		}
	}
}

const libvirtConf = "/etc/libvirt/libvirt.conf"

// hypervisors are the libvirts of this node that are in use, else the default.
func (inv *Inventory) hypervisors(s Sources) []string {
	var uris []string
	add := func(uri string) {
		if uri != "" && !slices.Contains(uris, uri) {
			uris = append(uris, uri)
		}
	}
	for _, g := range inv.Guests {
		add(g.URI)
	}
	for _, c := range inv.Claims {
		add(c.Environ.Params.Hypervisor)
	}
	if len(uris) == 0 {
		env := map[string]string{"LIBVIRT_DEFAULT_URI": os.Getenv("LIBVIRT_DEFAULT_URI")}
		add(param.DefaultURI(env, s.Path(libvirtConf)))
	}
	return uris
}

// askLibvirts asks all at once, as one that hangs takes its whole time.
func (inv *Inventory) askLibvirts(ctx context.Context, open Opener) {
	type answer struct {
		found map[string]libvirt.Status
		err   error
	}
	answers := make([]answer, len(inv.URIs))
	var wait sync.WaitGroup
	for i, uri := range inv.URIs {
		wait.Go(func() { answers[i].found, answers[i].err = open.running(ctx, uri) })
	}
	wait.Wait()
	for i, uri := range inv.URIs {
		if err := answers[i].err; err != nil {
			inv.Unanswered[uri] = err
			inv.note(err)
		}
		for name, s := range answers[i].found {
			g := inv.of(name)
			g.URI, g.UUID, g.Libvirt = uri, s.UUID, &s
		}
	}
}

func (inv *Inventory) addProcesses(found []hostproc.Process) {
	for _, p := range found {
		if p.Name == "" {
			continue // somebody's QEMU that is not libvirt's
		}
		g := inv.of(p.Name)
		g.Process, g.Incoming = p.PID, p.Incoming && (!p.Domain || !g.IsActive()) // libvirt knows who paused a domain
		if p.Condition != hostproc.Alive {
			g.Condition = p.Condition.String()
		}
		if g.UUID == "" {
			g.UUID = p.UUID
		}
	}
}

// LibvirtState is the guest's state in libvirt's words.
func (inv *Inventory) LibvirtState(g *Guest) string {
	switch {
	case g.Libvirt != nil:
		return fmt.Sprintf("%s (%s)", g.Libvirt.State, g.Libvirt.Reason)
	case inv.Unanswered[g.URI] != nil:
		return "no answer"
	}
	return "absent"
}

// ProcessState is what the process table shows of it.
func (inv *Inventory) ProcessState(g *Guest) string {
	switch {
	case g.Process != 0 && g.Incoming:
		return fmt.Sprintf("%d, arriving", g.Process)
	case g.Condition != "":
		return fmt.Sprintf("%d, %s", g.Process, g.Condition)
	case g.Process != 0:
		return fmt.Sprint(g.Process)
	case inv.Hidden != nil:
		return "cannot tell"
	}
	return "none"
}

// ManagerState is what the cluster manager has of it.
func (g *Guest) ManagerState() string {
	switch {
	case g.View == nil && g.Claim == nil:
		return "not its guest"
	case g.View == nil:
		return "not here"
	case g.View.Stuck != "":
		return g.View.Stuck
	case g.View.Moving:
		return "at work on it"
	}
	return "here"
}

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
