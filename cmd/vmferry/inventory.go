package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource"
	"github.com/vmferry/vmferry/resource/hostproc"
	"github.com/vmferry/vmferry/resource/notes"
)

// guest is one that is on this node by anybody's word.
type guest struct {
	Name     string
	UUID     string
	URI      string          // the libvirt that has it
	Claim    *claim          // the resource that it is, nil for none
	Noted    bool            // vmferry's agent noted that it runs here
	View     *hbplugin.Guest // what the manager that has it here says of it
	Libvirt  *libvirt.Status // nil where libvirt knows none or did not answer
	Process  int             // the number of its QEMU, or of its domain of Xen's; 0 for none
	Incoming bool            // that process only receives it
	Odd      string          // what else the hypervisor itself says of it, empty where it is alive
}

// inventory is all guests of this node, by name, and whom there was no answer from.
type inventory struct {
	node     string
	managers []managed
	claims   []claim
	uris     []string
	deaf     map[string]error // the libvirts that did not answer
	blind    error            // why the processes are not all known
	unsure   error            // why the claims are not all known
	guests   []*guest
	problems []string
}

// survey asks everybody. It never fails: who gave no answer is in problems.
func (c *call) survey(ctx context.Context) *inventory {
	inv := &inventory{managers: c.managers(ctx), deaf: map[string]error{}}
	noted, err := notes.GuestsIn(c.path(c.config.GuestsDir)).All()
	inv.note(err)
	for _, m := range inv.managers {
		inv.note(m.err)
	}
	inv.node, err = c.nodeName(ctx, inv.managers)
	inv.note(err)
	inv.claims, inv.unsure = c.claims(ctx, inv.managers, noted)
	inv.note(inv.unsure)
	inv.takeNotes(noted)
	inv.takeViews()
	inv.uris = c.hypervisors(inv)
	inv.askLibvirts(ctx, c)
	found, err := c.processes(ctx, inv.uris...)
	inv.blind = err
	inv.note(err)
	inv.takeProcesses(found)
	inv.attach()
	slices.SortFunc(inv.guests, func(a, b *guest) int { return strings.Compare(a.Name, b.Name) })
	return inv
}

func (inv *inventory) note(err error) {
	if err != nil {
		inv.problems = append(inv.problems, oneLine(err))
	}
}

// of is the guest of that name, a new one if need be.
func (inv *inventory) of(name string) *guest {
	for _, g := range inv.guests {
		if g.Name == name {
			return g
		}
	}
	g := &guest{Name: name}
	inv.guests = append(inv.guests, g)
	return g
}

func (inv *inventory) takeNotes(noted []notes.Guest) {
	for _, e := range noted {
		g := inv.of(e.Guest)
		g.UUID, g.URI, g.Noted = e.UUID, e.URI, true
	}
}

// takeViews adds what the managers have here. A resource that nothing else is
// known of goes by its own name.
func (inv *inventory) takeViews() {
	for _, m := range inv.managers {
		for _, v := range m.view.Guests {
			name := v.Name
			if cl := inv.claim(func(cl claim) bool { return cl.resource == v.Name && cl.manager == m.String() }); cl != nil {
				name = cl.guest
			}
			inv.of(name).View = &v
		}
	}
}

func (inv *inventory) claim(is func(claim) bool) *claim {
	if i := slices.IndexFunc(inv.claims, is); i >= 0 {
		return &inv.claims[i]
	}
	return nil
}

// attach gives each guest its claim, and its libvirt where nobody has seen it.
func (inv *inventory) attach() {
	for _, g := range inv.guests {
		g.Claim = inv.claim(func(cl claim) bool { return cl.guest == g.Name })
		if g.URI == "" && g.Claim != nil {
			g.URI = g.Claim.env.Params.Hypervisor
		}
		if g.URI == "" && len(inv.uris) > 0 {
			g.URI = inv.uris[0]
		}
	}
}

const libvirtConf = "/etc/libvirt/libvirt.conf"

// hypervisors are the libvirts of this node that are in use, else the default.
func (c *call) hypervisors(inv *inventory) []string {
	var uris []string
	add := func(uri string) {
		if uri != "" && !slices.Contains(uris, uri) {
			uris = append(uris, uri)
		}
	}
	for _, g := range inv.guests {
		add(g.URI)
	}
	for _, cl := range inv.claims {
		add(cl.env.Params.Hypervisor)
	}
	if len(uris) == 0 {
		add(c.defaultURI())
	}
	return uris
}

func (c *call) defaultURI() string {
	return resource.DefaultURI(map[string]string{"LIBVIRT_DEFAULT_URI": os.Getenv("LIBVIRT_DEFAULT_URI")}, c.path(libvirtConf))
}

// askLibvirts asks all at once, as one that hangs takes its whole time.
func (inv *inventory) askLibvirts(ctx context.Context, c *call) {
	type answer struct {
		found map[string]libvirt.Status
		err   error
	}
	answers := make([]answer, len(inv.uris))
	var wait sync.WaitGroup
	for i, uri := range inv.uris {
		wait.Go(func() { answers[i].found, answers[i].err = c.running(ctx, uri) })
	}
	wait.Wait()
	for i, uri := range inv.uris {
		if err := answers[i].err; err != nil {
			inv.deaf[uri] = err
			inv.note(err)
		}
		for name, s := range answers[i].found {
			g := inv.of(name)
			g.URI, g.UUID, g.Libvirt = uri, s.UUID, &s
		}
	}
}

// running is what a libvirt says of its active guests.
func (c *call) running(ctx context.Context, uri string) (map[string]libvirt.Status, error) {
	found := map[string]libvirt.Status{}
	err := c.ask(ctx, uri, func(ctx context.Context, h host) error {
		names, err := h.Active(ctx)
		if err != nil {
			return err
		}
		for _, name := range names {
			s, err := h.Status(ctx, name)
			if errors.Is(err, libvirt.ErrNoDomain) {
				continue // it ended meanwhile
			}
			if err != nil {
				return err
			}
			found[name] = s
		}
		return nil
	})
	return found, err
}

func (inv *inventory) takeProcesses(found []hostproc.Process) {
	for _, p := range found {
		if p.Name == "" {
			continue // somebody's QEMU that is not libvirt's
		}
		g := inv.of(p.Name)
		g.Process, g.Incoming = p.PID, p.Incoming && (!p.Domain || !g.active()) // libvirt knows who paused a domain
		if p.Condition != hostproc.Alive {
			g.Odd = p.Condition.String()
		}
		if g.UUID == "" {
			g.UUID = p.UUID
		}
	}
}

// here tells whether anything of the guest is on this node: what a drain waits for.
func (g *guest) here() bool { return g.View != nil || g.Process != 0 || g.active() }

func (g *guest) active() bool { return g.Libvirt != nil && g.Libvirt.State.Active() }

// libvirtSays is the state in libvirt's words.
func (inv *inventory) libvirtSays(g *guest) string {
	switch {
	case g.Libvirt != nil:
		return fmt.Sprintf("%s (%s)", g.Libvirt.State, g.Libvirt.Reason)
	case inv.deaf[g.URI] != nil:
		return "no answer"
	}
	return "absent"
}

// processSays is what the process table shows.
func (inv *inventory) processSays(g *guest) string {
	switch {
	case g.Process != 0 && g.Incoming:
		return fmt.Sprintf("%d, arriving", g.Process)
	case g.Odd != "":
		return fmt.Sprintf("%d, %s", g.Process, g.Odd)
	case g.Process != 0:
		return fmt.Sprint(g.Process)
	case inv.blind != nil:
		return "cannot tell"
	}
	return "none"
}

// managerSays is what the cluster manager has of it.
func (g *guest) managerSays() string {
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
