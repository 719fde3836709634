package announce

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// Schedule is when the rounds are sent, counted from the moment at which the guest runs. The first
// ones come close together, because a client waits; the last ones reach a port that a
// switch opens late.
var Schedule = []time.Duration{
	0, 30 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond, 450 * time.Millisecond, 800 * time.Millisecond,
	1500 * time.Millisecond, 3 * time.Second,
}

// Brief is a schedule for who cannot stay.
var Brief = []time.Duration{0, 30 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond}

// askTime bounds each question to libvirt.
const askTime = 2 * time.Second

// Source describes guests; client.Conn is the real one.
type Source interface {
	// XML is the description of the active domain.
	XML(ctx context.Context, name string) (string, error)
	// InterfaceAddresses asks one source for the addresses of a guest's cards.
	InterfaceAddresses(ctx context.Context, name string, source libvirt.AddressSource) ([]libvirt.CardAddresses, error)
}

// Announcer announces guests. Send and Log are required. It may be used by several goroutines at once.
type Announcer struct {
	Host     Host
	Send     func(o Outlet, frame []byte) error // normally Socket.Send
	Schedule []time.Duration                    // rising; nil for Schedule
	Log      logrus.FieldLogger
}

// Plan is all that has to be known to announce a guest.
type Plan struct {
	Guest string
	Cards []Planned
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
	plan := Plan{Guest: guest}
	if s.Off {
		return plan, nil
	}
	cards, err := a.cards(ctx, src, guest)
	if err != nil {
		return Plan{}, fmt.Errorf("announce guest %q: %w", guest, err)
	}
	known := a.addresses(ctx, src, guest, cards, s)
	for i, c := range cards {
		c.Dev = a.Host.device(c.Dev)
		outlets, err := a.Host.Outlets(c.Dev)
		if err != nil {
			a.Log.WithError(err).Infof("network card %s of guest %q is not announced", c.MAC, guest)
			continue
		}
		c.Addrs = known[i]
		plan.Cards = append(plan.Cards, Planned{Card: c, Outlets: outlets, frames: Frames(c.MAC, c.Addrs)})
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

// addresses are those of each card: what the operator gave and nothing else, or what the XML, this
// host's neighbour table and DHCP leases tell.
func (a Announcer) addresses(ctx context.Context, src Source, guest string, cards []Card, s Setting) [][]netip.Addr {
	known := make([][]netip.Addr, len(cards))
	if s.fixed() {
		for i, c := range cards {
			known[i] = merge(s.of(i, c.MAC))
		}
		return known
	}
	seen, err := a.Host.seen()
	if err != nil {
		a.Log.WithError(err).Debug("the neighbour table cannot be read")
	}
	leased := map[MAC][]netip.Addr{}
	if slices.ContainsFunc(cards, func(c Card) bool { return c.Lease }) {
		leased = a.ask(ctx, src, guest, libvirt.FromLease)
	}
	for i, c := range cards {
		known[i] = merge(c.Addrs, leased[c.MAC], seen[c.MAC])
	}
	return known
}

// ask asks libvirt for addresses. None is the answer where it has none.
func (a Announcer) ask(ctx context.Context, src Source, guest string, source libvirt.AddressSource) map[MAC][]netip.Addr {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	cards, err := src.InterfaceAddresses(ctx, guest, source)
	if err != nil {
		a.Log.WithError(err).Debugf("no addresses of guest %q", guest)
	}
	at := map[MAC][]netip.Addr{}
	for _, c := range cards {
		if mac, err := ParseMAC(c.MAC); err == nil {
			at[mac] = append(at[mac], c.Addrs...)
		}
	}
	return at
}

// Refine prepares anew once the guest runs: ports and addresses may have changed since. A guest of which
// no address is known is asked through its agent, which answers only now.
func (a Announcer) Refine(ctx context.Context, src Source, guest string, s Setting) (Plan, error) {
	plan, err := a.Prepare(ctx, src, guest, s)
	if err != nil || s.fixed() || slices.ContainsFunc(plan.Cards, func(c Planned) bool { return len(c.Addrs) > 0 }) {
		return plan, err
	}
	told := a.ask(ctx, src, guest, libvirt.FromAgent)
	for i := range plan.Cards {
		c := &plan.Cards[i]
		c.Addrs = merge(told[c.MAC])
		c.frames = Frames(c.MAC, c.Addrs)
	}
	return plan, nil
}

// Announce sends the rounds of the schedule, the first at once, and returns after the last, or when
// ctx ends: cancel it when the guest does not run here any more, or when somebody outside has
// seen the guest at its new place. refine, where not nil, is called beside the first rounds, and
// its plan is used from then on unless it fails. What cannot be sent is logged.
func (a Announcer) Announce(ctx context.Context, plan Plan, refine func(context.Context) (Plan, error)) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	began := time.Now()
	s := sending{Announcer: a, plan: plan}
	refined := make(chan Plan, 1)
	schedule := a.Schedule
	if schedule == nil {
		schedule = Schedule
	}
	for i, at := range schedule {
		if !s.wait(ctx, time.Until(began.Add(at)), refined) {
			break
		}
		s.round()
		if i == 0 && refine != nil {
			go func() {
				if better, err := refine(ctx); err == nil {
					refined <- better
				}
			}()
		}
	}
	s.report(time.Since(began))
}

// sending is one announcement under way.
type sending struct {
	Announcer
	plan Plan

	rounds, sent int
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
		case <-timer.C:
			return ctx.Err() == nil
		}
	}
}

// round sends every frame once.
func (s *sending) round() {
	s.rounds++
	for _, c := range s.plan.Cards {
		for _, o := range c.Outlets {
			for _, frame := range c.frames {
				s.failed(s.Send(o, frame))
			}
		}
		s.learn(c)
	}
}

// learn corrects this host's own bridge, where that is allowed. It may be wrong only until the first
// frame of the guest's, QEMU's among them: not being allowed is nothing to report.
func (s *sending) learn(c Planned) {
	if err := s.Host.Learn(c.Dev, c.MAC); !errors.Is(err, unix.EPERM) && err != nil {
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
	log.Infof("announced in %d rounds of %v: %d frames on %v for the addresses %v", s.rounds, took.Round(time.Millisecond), s.sent, where, addrs)
}
