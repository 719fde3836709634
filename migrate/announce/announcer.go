package announce

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// Schedule is when the rounds are sent, counted from the moment at which the guest runs. The first ones come close
// together, because a client waits, and are left out where they would have nothing but QEMU's RARP; the last ones reach
// a port that a switch opens late. There are few in the first second, in which the guest needs the processors: QEMU
// sends RARP of its own in it, after 0, 50, 200, 450 and 800 ms (its announce-rounds).
var Schedule = []time.Duration{
	0, 50 * time.Millisecond, 250 * time.Millisecond, 1100 * time.Millisecond, 2 * time.Second, 3500 * time.Millisecond,
}

// Brief is a schedule for who cannot stay.
var Brief = []time.Duration{0, 50 * time.Millisecond, 150 * time.Millisecond}

// refineAfter is from when on a plan that is good enough is looked at again: its questions to libvirt and to the kernel
// cost more than all rounds together.
const refineAfter = time.Second

const (
	// askTime bounds each question to libvirt.
	askTime = 2 * time.Second
	// maxLines is how many addresses of a card are named that are not announced: a guest may claim thousands.
	maxLines = 8
	// maxClaims is how many addresses of a card are looked at of those that a source reports.
	maxClaims = 4 * maxAddrs
)

// Source describes guests; client.Conn is the real one.
type Source interface {
	// XML is the description of the active domain.
	XML(ctx context.Context, name string) (string, error)
	// InterfaceAddresses asks one source for the addresses of a guest's cards.
	InterfaceAddresses(ctx context.Context, name string, source libvirt.AddressSource) ([]libvirt.CardAddresses, error)
}

// Announcer announces guests. Send, Log and Memory are required. It may be used by several goroutines at once.
type Announcer struct {
	Host     Host
	Send     func(o Outlet, frame []byte) error // normally Socket.Send
	Schedule []time.Duration                    // rising; nil for Schedule
	Log      logrus.FieldLogger
	// Peers are the addresses of the cluster's nodes, which no guest has. Those in an answer with an error count.
	// Nil where there is no cluster.
	Peers func(ctx context.Context) ([]netip.Addr, error)
	// Others are the addresses that are configured for guests, and the guest. Nil for none.
	Others func() map[netip.Addr]string
	Memory *Memory // what was said of an address is not said again
}

// Plan is all that has to be known to announce a guest.
type Plan struct {
	Guest string
	Cards []Planned
	// Partial reports that it lacks what can be found out as soon as the guest runs.
	Partial bool
	// Migrated reports that the guest comes from another host, so that QEMU sends RARP for it, too.
	Migrated bool
}

// isQEMUs reports whether QEMU itself sends all of the plan in the guest's first second.
func (p Plan) isQEMUs() bool {
	return p.Migrated && !p.Partial && !slices.ContainsFunc(p.Cards, func(c Planned) bool { return len(c.Addrs) > 0 })
}

// Planned is a card that can be announced.
type Planned struct {
	Card
	Outlets []Outlet
	frames  [][]byte
}

// Prepare finds out what to announce for a guest that is here, or about to be. It takes some
// milliseconds, and where libvirt hangs, a few seconds. Cards that cannot be announced are left out, and
// the log says why. A plan without cards is no error.
func (a Announcer) Prepare(ctx context.Context, src Source, guest string, s Setting) (Plan, error) {
	return a.prepare(ctx, src, guest, s, false)
}

// Refine prepares again once the guest runs: ports and addresses may have changed since. With the setting [Agent]
// the guest is asked through its agent, which answers only now.
func (a Announcer) Refine(ctx context.Context, src Source, guest string, s Setting) (Plan, error) {
	return a.prepare(ctx, src, guest, s, s.Agent)
}

func (a Announcer) prepare(
	ctx context.Context, src Source, guest string, s Setting, agent bool,
) (Plan, error) {
	plan := Plan{Guest: guest, Partial: s.Agent && !agent}
	if s.Off {
		return plan, nil
	}
	cards, err := a.cards(ctx, src, guest)
	if err != nil {
		return Plan{}, fmt.Errorf("announce guest %q: %w", guest, err)
	}
	known := a.claims(ctx, src, guest, cards, s, agent)
	sees := a.look(ctx, guest)
	sees.fixed = s.fixed()
	var all []netip.Addr
	for i, c := range cards {
		c.Dev = a.Host.device(c.Dev)
		outlets, err := a.Host.Outlets(c.Dev)
		if err != nil {
			a.Log.WithError(err).Infof("network card %s of guest %q is not announced", c.MAC, guest)
			continue
		}
		c.Addrs = a.choose(guest, c, known[i], sees)
		plan.Cards = append(plan.Cards, Planned{Card: c, Outlets: outlets, frames: Frames(c.MAC, c.Addrs)})
		all = append(all, c.Addrs...)
	}
	if ctx.Err() == nil { // else it may have gone
		a.Memory.keep(guest, all)
	}
	return plan, nil
}

func (a Announcer) cards(ctx context.Context, src Source, guest string) ([]Card, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	text, err := src.XML(ctx, guest)
	if err != nil {
		return nil, err
	}
	return ParseCards(text)
}

// claims are the addresses that each card may have: what the operator gave and nothing else, or what the XML, DHCP
// leases and, where wanted, the guest agent report. What this host has seen is added by choose.
func (a Announcer) claims(
	ctx context.Context, src Source, guest string, cards []Card, s Setting, agent bool,
) [][]claim {
	known := make([][]claim, len(cards))
	if s.fixed() {
		for i, c := range cards {
			known[i] = claims(byOperator, s.of(i, c.MAC))
		}
		return known
	}
	var leased, claimed map[MAC][]netip.Addr
	if slices.ContainsFunc(cards, func(c Card) bool { return c.Lease }) {
		leased = a.ask(ctx, src, guest, libvirt.FromLease)
	}
	if agent {
		claimed = a.ask(ctx, src, guest, libvirt.FromAgent)
	}
	for i, c := range cards {
		known[i] = slices.Concat(claims(byXML, c.Addrs), claims(byXML, c.Filter.Addrs),
			claims(byLease, leased[c.MAC]), claims(byAgent, claimed[c.MAC]))
	}
	return known
}

// sight is what the node knows while a guest is prepared for.
type sight struct {
	scene
	tables Tables
	fixed  bool // the operator gave the addresses: what this host sees names no more
}

// look reads what the node knows.
func (a Announcer) look(ctx context.Context, guest string) sight {
	tables, err := a.Host.tables(ctx)
	if err != nil && a.Memory.first(err.Error()) {
		a.Log.WithError(err).Warn("guests are announced with their configured addresses alone")
	}
	tables.Neighbours = slices.Concat(tables.Neighbours, a.Memory.past(time.Now()))
	s := sight{scene: scene{own: tables.Own, gateways: tables.Gateways, blind: err}, tables: tables}
	if a.Peers != nil {
		if s.peers, err = a.Peers(ctx); err != nil && a.Memory.first(err.Error()) {
			a.Log.WithError(err).Warn("an address of another node may be announced for a guest that claims it")
		}
	}
	s.others = map[netip.Addr]string{}
	a.Memory.others(guest, s.others)
	if a.Others != nil {
		maps.Copy(s.others, a.Others())
	}
	maps.DeleteFunc(s.others, func(_ netip.Addr, of string) bool { return of == guest })
	return s
}

// choose decides what is announced for a card, and says once what is not.
func (a Announcer) choose(guest string, c Card, all []claim, sees sight) []netip.Addr {
	near, err := a.Host.near(c.Dev, sees.tables)
	s := sees.scene
	s.near, s.blind = near, cmp.Or(s.blind, err)
	if !sees.fixed {
		all = append(all, claims(byHost, s.seen(c.MAC))...)
	}
	chosen, left := choose(c, all, s)
	for i, o := range left {
		text := fmt.Sprintf("address %s of guest %q, card %s, is not announced: %s", o.addr, guest, c.MAC, o.why)
		if i == maxLines {
			text = fmt.Sprintf("more addresses of guest %q, card %s, are not announced", guest, c.MAC)
		}
		if a.Memory.first(text) {
			a.Log.Warn(text)
		}
		if i == maxLines {
			break
		}
	}
	return chosen
}

// ask asks libvirt for addresses. None is the answer where it has none.
func (a Announcer) ask(
	ctx context.Context, src Source, guest string, source libvirt.AddressSource,
) map[MAC][]netip.Addr {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	cards, err := src.InterfaceAddresses(ctx, guest, source)
	if err != nil {
		a.Log.WithError(err).Debugf("no addresses of guest %q", guest)
	}
	at := map[MAC][]netip.Addr{}
	for _, c := range cards {
		if mac, err := ParseMAC(c.MAC); err == nil {
			at[mac] = append(at[mac], c.Addrs[:min(len(c.Addrs), maxClaims-len(at[mac]))]...)
		}
	}
	return at
}

// Announce sends the rounds of the schedule, the first at once, and returns after the last, or when
// ctx ends: cancel it when the guest does not run here any more, or when somebody outside has
// seen the guest at its new place. refine, where not nil, is called after the first round where the plan is
// Partial, and else after a second; its plan is used from then on unless it fails. What cannot be sent is logged.
func (a Announcer) Announce(ctx context.Context, plan Plan, refine func(context.Context) (Plan, error)) {
	a.announce(ctx, plan, refine, nil, func() {})
}

// announce waits before each round for the gate, where not nil: a pause shifts the rest of the schedule. begun is
// called once, after the first round of which a frame has left.
func (a Announcer) announce(
	ctx context.Context, plan Plan, refine func(context.Context) (Plan, error), g *gate, begun func(),
) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	began, paused := time.Now(), time.Duration(0)
	s := sending{Announcer: a, plan: plan}
	refined := make(chan Plan, 1)
	schedule := a.Schedule
	if schedule == nil {
		schedule = Schedule
	}
	if plan.isQEMUs() {
		isEarly := func(at time.Duration) bool { return at > 0 && at < refineAfter }
		schedule = slices.DeleteFunc(slices.Clone(schedule), isEarly)
	}
	for _, at := range schedule {
		if !s.wait(ctx, time.Until(began.Add(at+paused)), refined) {
			break
		}
		held, open := g.pass(ctx, maxPause)
		if paused += held; !open {
			break
		}
		s.round()
		if s.sent > 0 {
			begun()
			begun = func() {}
		}
		if refine != nil && (plan.Partial || at >= refineAfter) {
			look := refine
			go func() {
				if better, err := look(ctx); err == nil {
					refined <- better
				}
			}()
			refine = nil
		}
	}
	s.report(time.Since(began))
}

// sending is one announcement under way.
type sending struct {
	Announcer
	plan Plan

	taught       bool // this host's bridge knows the plan's cards
	rounds, sent int
	next         int   // the frame with an address that is the next
	err          error // the first failure
}

// wait waits for the next round, and takes a better plan. It reports false when ctx ended.
func (s *sending) wait(ctx context.Context, d time.Duration, refined <-chan Plan) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case s.plan = <-refined:
			s.taught = false
		case <-timer.C:
			return ctx.Err() == nil
		}
	}
}

// maxRound is how many frames with addresses a guest has in a round at the most: a guest with many addresses, on a
// bridge with many ports, makes no storm. The next round continues with the others. The node has its own bound, see
// Memory.
const maxRound = 512

// round sends every frame once, those that teach switches first.
func (s *sending) round() {
	s.rounds++
	var rest []func() error
	for _, c := range s.plan.Cards {
		for _, o := range c.Outlets {
			for i, frame := range c.frames {
				if i == 0 {
					s.failed(s.Send(o, frame))
				} else {
					rest = append(rest, func() error { return s.Send(o, frame) })
				}
			}
		}
		if !s.taught {
			s.learn(c)
		}
	}
	s.taught = true
	for range min(len(rest), maxRound) {
		if !s.Memory.allow(time.Now()) {
			break
		}
		s.failed(rest[s.next%len(rest)]())
		s.next++
	}
}

// learn corrects this host's own bridge, where that is allowed. It may be wrong only until the first
// frame of the guest's, QEMU's among them: not being allowed is nothing to report.
func (s *sending) learn(c Planned) {
	if s.Memory.barred.Load() {
		return
	}
	switch err := s.Host.Learn(c.Dev, c.MAC); {
	case errors.Is(err, unix.EPERM):
		s.Memory.barred.Store(true)
	case err != nil:
		s.Log.WithError(err).Debugf("guest %q is announced to other hosts alone", s.plan.Guest)
	}
}

func (s *sending) failed(err error) {
	if err == nil {
		s.sent++
	} else if s.err == nil {
		s.err = err
	}
}

func (s *sending) report(took time.Duration) {
	log := s.Log.WithField("guest", s.plan.Guest)
	if s.err != nil {
		log.WithError(s.err).Warn("not all of the guest's announcement could be sent")
	}
	var where, addrs []string
	for _, c := range s.plan.Cards {
		for _, o := range c.Outlets {
			where = append(where, o.String())
		}
		for _, addr := range c.Addrs {
			addrs = append(addrs, addr.String())
		}
	}
	if len(s.plan.Cards) == 0 {
		log.Debug("the guest has nothing to announce")
		return
	}
	log.Infof("announced in %d rounds of %v: %d frames on %v for the addresses %v", s.rounds,
		took.Round(time.Millisecond), s.sent, where, addrs)
}
