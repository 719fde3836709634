package elsewhere

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/hostproc"
	"github.com/vmferry/vmferry/resource/observe"
)

// managerTime bounds what the manager is asked before a start, in which clients wait.
const managerTime = 5 * time.Second

// Cluster is the other nodes, as they are asked for one guest.
type Cluster struct {
	Guest    *observe.Identity // whom to ask for
	Resource string            // its id in the cluster manager
	Node     string            // this node
	CallTime time.Duration     // the most that one question may take
	Census   Census
	Log      logrus.FieldLogger

	Open func(ctx context.Context, uri string) (observe.Hypervisor, error)
	URI  func(ctx context.Context, node string) (string, error) // how a node's libvirt is reached
	// Peers lists the other nodes, and Runnable those that may run the resource at all; nil where no manager can be
	// asked.
	Peers    func(ctx context.Context) ([]Peer, error)
	Runnable func(ctx context.Context, resource string) ([]string, error)

	logged map[string]bool // what each round would log again
}

// Ask asks all peers once, at the same time. pending is the peer of a migration whose end is not known, empty for none.
func (c *Cluster) Ask(ctx context.Context, pending string) []Answer {
	since := hostproc.Uptime()
	all := Questions(c.Node, c.members(ctx), pending)
	answers := make([]Answer, len(all))
	var wait sync.WaitGroup
	for n, q := range all {
		wait.Go(func() { answers[n] = c.answer(ctx, q, since) })
	}
	wait.Wait()
	for _, a := range answers {
		if a.Err != nil && a.Presence == Nothing {
			c.logUnproven(a)
		}
	}
	return answers
}

// members asks the cluster manager.
func (c *Cluster) members(ctx context.Context) Members {
	if c.Peers == nil {
		return Members{}
	}
	ctx, cancel := context.WithTimeout(ctx, min(managerTime, c.CallTime))
	defer cancel()
	m := Members{Known: true}
	var limit sync.WaitGroup
	limit.Go(func() { m.Runnable, m.Limited = c.runnable(ctx) })
	peers, err := c.Peers(ctx)
	limit.Wait()
	if err != nil {
		c.Once("peers", func() {
			c.Log.WithError(err).Warn("the cluster manager does not name the other nodes: " +
				"that none of them runs the guest is not proven, beyond one that a migration was begun with")
		})
		return Members{}
	}
	m.Peers = peers
	return m
}

func (c *Cluster) runnable(ctx context.Context) (nodes []string, limited bool) {
	if c.Runnable == nil {
		return nil, false
	}
	nodes, err := c.Runnable(ctx, c.Resource)
	if err != nil {
		c.Once("limit", func() {
			c.Log.WithError(err).Info("the cluster manager does not say which nodes may run the guest: all are asked")
		})
	}
	return nodes, err == nil
}

// logUnproven says what is not proven of a peer that gave no answer.
func (c *Cluster) logUnproven(a Answer) {
	c.Once("no answer of "+a.Node, func() {
		log := c.Log.WithError(a.Err).WithField("peer", a.Node)
		if a.Left {
			log.Info("the peer left the cluster cleanly, and its libvirt does not answer")
			return
		}
		log.Warn("it is not proven that the guest does not run on the peer, as its libvirt does not answer: " +
			"trusting the cluster manager")
	})
}

// Once does something the first time that it is called with what. It is for one goroutine at a time.
func (c *Cluster) Once(what string, do func()) {
	if c.logged == nil {
		c.logged = make(map[string]bool)
	}
	if !c.logged[what] {
		c.logged[what] = true
		do()
	}
}

// answer asks one peer.
func (c *Cluster) answer(ctx context.Context, q Question, since time.Duration) Answer {
	a := Answer{Question: q}
	status, err := c.ask(ctx, q, since)
	switch {
	case err == nil:
		a.Presence, a.Status = presenceOf(status), status
	case errors.Is(err, libvirt.ErrNoDomain):
	case q.Must:
		a.Presence, a.Err = Unanswered, err
	default:
		a.Err = err
	}
	return a
}

// ask returns the guest's status on a peer; the error is libvirt.ErrNoDomain where it is not active there.
func (c *Cluster) ask(ctx context.Context, q Question, since time.Duration) (libvirt.Status, error) {
	uri, err := c.URI(ctx, q.Node)
	if err != nil {
		return libvirt.Status{}, err
	}
	var guests []libvirt.Resident
	if limit := q.limit(c.CallTime); q.Must { // nobody else waits as long for it
		soft, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		guests, err = c.residents(soft, uri)
	} else {
		guests, err = c.Census.ask(ctx, uri, since, limit, c.residents)
	}
	if err != nil {
		return libvirt.Status{}, err
	}
	ref, ok := among(*c.Guest, guests)
	if !ok {
		return libvirt.Status{}, libvirt.ErrNoDomain
	}
	ctx, cancel := context.WithTimeout(ctx, c.CallTime)
	defer cancel()
	status, err := c.status(ctx, uri, ref)
	if err != nil { // it was there a moment ago, and all are asked again where it is now
		return libvirt.Status{State: libvirt.NoState, Reason: err.Error()}, nil
	}
	return status, nil
}

// among is what to ask libvirt for the guest by that is in a list of active ones.
func among(guest observe.Identity, guests []libvirt.Resident) (ref string, ok bool) {
	for _, g := range guests {
		if guest.UUID == "" && g.Name == guest.Name || guest.UUID != "" && strings.EqualFold(g.UUID, guest.UUID) {
			return libvirt.Ref(g.Name, g.UUID), true
		}
	}
	return "", false
}

// residents lists the active guests at a libvirt.
func (c *Cluster) residents(ctx context.Context, uri string) (all []libvirt.Resident, err error) {
	err = c.at(ctx, uri, func(conn observe.Hypervisor) error { all, err = conn.Residents(ctx); return err })
	return all, err
}

// status asks the libvirt at uri for a guest.
func (c *Cluster) status(ctx context.Context, uri, ref string) (status libvirt.Status, err error) {
	err = c.at(ctx, uri, func(conn observe.Hypervisor) error { status, err = conn.Status(ctx, ref); return err })
	return status, err
}

// at asks the libvirt at uri over a connection of its own.
func (c *Cluster) at(ctx context.Context, uri string, ask func(observe.Hypervisor) error) error {
	conn, err := c.Open(ctx, uri)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	return ask(conn)
}

// Has reports whether a node's libvirt has the guest active; an error means "cannot tell".
func (c *Cluster) Has(ctx context.Context, node string) (bool, error) {
	uri, err := c.URI(ctx, node)
	if err != nil {
		return false, err
	}
	status, err := c.status(ctx, uri, c.Guest.Name)
	if errors.Is(err, libvirt.ErrNoDomain) {
		return false, nil
	}
	return err == nil && status.State.Active() && !c.Guest.IsOther(status.UUID), err
}

// RunsAt returns nil when the libvirt at uri says that the guest runs there. A guest of the
// same name with another UUID is another guest.
func (c *Cluster) RunsAt(ctx context.Context, uri string) error {
	ctx, cancel := context.WithTimeout(ctx, c.CallTime)
	defer cancel()
	status, err := c.status(ctx, uri, c.Guest.Name)
	switch {
	case err != nil:
		return err
	case status.State != libvirt.Running && status.State != libvirt.Blocked:
		return fmt.Errorf("on the target it is %s", status.State)
	case c.Guest.IsOther(status.UUID):
		return fmt.Errorf("the target runs another guest of this name, with UUID %s", status.UUID)
	}
	return nil
}
