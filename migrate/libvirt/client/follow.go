package client

import (
	"context"
	"errors"
	"net/netip"
	"sync"

	lv "libvirt.org/go/libvirt"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// maxAgents is how many guest agents are asked at once.
const maxAgents = 2

// Follow calls f for each turn of every domain of the host, also of those that come later. f
// runs on the event loop and must not block. QEMU's own event reports that a guest runs before libvirt's
// does, so that this may come twice; other drivers have libvirt's alone. lost is closed when the
// connection broke, and then no more turns come. stop ends all this, and takes a few seconds at
// most; it must be called before Close.
//
// Source: VIR_DOMAIN_EVENT_ID_LIFECYCLE, virConnectDomainQemuMonitorEventRegister,
// virConnectRegisterCloseCallback. None of these taints a domain.
func (c Domains) Follow(
	ctx context.Context, f func(domain string, t libvirt.Turn),
) (lost <-chan struct{}, stop func(), err error) {
	gone := make(chan struct{})
	closed := sync.OnceFunc(func() { close(gone) })
	ends, err := call(ctx, c.session, "follow", "", func() ([]func() error, error) {
		ends, err := c.register(f, closed)
		if err == nil {
			err = ctx.Err() // nobody waits any more
		}
		if err != nil {
			undo(ends)
		}
		return ends, err
	})
	if err != nil {
		return nil, nil, err
	}
	return gone, sync.OnceFunc(func() { c.unfollow(ends) }), nil
}

// register asks for the events, and gives what ends each; also with an error.
func (c Domains) register(f func(string, libvirt.Turn), closed func()) (ends []func() error, err error) {
	err = c.lv.RegisterCloseCallback(func(*lv.Connect, lv.ConnectCloseReason) { closed() })
	switch {
	case err == nil:
		ends = append(ends, c.lv.UnregisterCloseCallback)
	case !c.unsupported(err): // drivers without a daemon lose no connection
		return ends, err
	}
	lifecycle, err := c.lv.DomainEventLifecycleRegister(nil,
		func(_ *lv.Connect, d *lv.Domain, e *lv.DomainEventLifecycle) {
			if t, ok := turnOf(e); ok {
				report(f, d, t)
			}
		})
	if err != nil {
		return ends, err
	}
	ends = append(ends, func() error { return c.lv.DomainEventDeregister(lifecycle) })
	qemu, err := c.lv.DomainQemuMonitorEventRegister(nil, "RESUME",
		func(_ *lv.Connect, d *lv.Domain, _ *lv.DomainQemuMonitorEvent) {
			report(f, d, libvirt.TurnResumed)
		}, 0)
	switch {
	case err == nil:
		ends = append(ends, func() error { return c.lv.DomainQemuEventDeregister(qemu) })
	case !c.unsupported(err):
		return ends, err
	}
	return ends, nil
}

// unsupported reports whether the driver does not know a call.
func (s *session) unsupported(err error) bool {
	return err != nil && errors.Is(wrap("follow", s.uri, "", err), libvirt.ErrUnsupported)
}

func report(f func(string, libvirt.Turn), d *lv.Domain, t libvirt.Turn) {
	if name, err := d.GetName(); err == nil { // local, no round trip
		f(name, t)
	}
}

// turnOf reads a lifecycle event; ok is false for those that change nothing about running. What a guest of QEMU's can
// cause by itself, by suspending, waking, rebooting or an I/O error, is never a TurnRunning.
func turnOf(e *lv.DomainEventLifecycle) (t libvirt.Turn, ok bool) {
	switch e.Event {
	case lv.DOMAIN_EVENT_STARTED:
		return started(lv.DomainEventStartedDetailType(e.Detail)), true
	case lv.DOMAIN_EVENT_RESUMED:
		switch lv.DomainEventResumedDetailType(e.Detail) {
		case lv.DOMAIN_EVENT_RESUMED_MIGRATED, lv.DOMAIN_EVENT_RESUMED_POSTCOPY:
			return libvirt.TurnRunning, true
		}
		return libvirt.TurnResumed, true
	case lv.DOMAIN_EVENT_SUSPENDED, lv.DOMAIN_EVENT_PMSUSPENDED:
		return libvirt.TurnPaused, true
	case lv.DOMAIN_EVENT_STOPPED, lv.DOMAIN_EVENT_CRASHED:
		return libvirt.TurnHalted, true
	}
	return 0, false
}

func started(how lv.DomainEventStartedDetailType) libvirt.Turn {
	switch how {
	case lv.DOMAIN_EVENT_STARTED_MIGRATED:
		// QEMU's driver reports an incoming migration so before the first byte of it came.
		return libvirt.TurnArriving
	case lv.DOMAIN_EVENT_STARTED_WAKEUP:
		return libvirt.TurnResumed
	}
	return libvirt.TurnRunning
}

// unfollow ends what Follow began. With the connection broken there is nothing to end but our own
// part, which libvirt does all the same.
func (c Domains) unfollow(ends []func() error) {
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	_ = do(ctx, c.session, "unfollow", "", func() error {
		undo(ends)
		return nil
	})
}

// undo calls the functions in reverse order.
func undo(ends []func() error) {
	for i := len(ends) - 1; i >= 0; i-- {
		_ = retryLoad(ends[i])
	}
}

// InterfaceAddresses asks one source for the IP addresses of a domain's network cards
// (virDomainInterfaceAddresses). Cards without addresses are left out, and so are addresses that cannot be
// read.
//
// libvirt waits without a limit for an agent that has answered guest-sync, and serves five calls of a connection at a
// time (max_client_requests): so no more than two agents are asked at once, and a third call fails.
func (c Domains) InterfaceAddresses(
	ctx context.Context, name string, source libvirt.AddressSource,
) ([]libvirt.CardAddresses, error) {
	ask := func(d *lv.Domain) ([]libvirt.CardAddresses, error) {
		if source == libvirt.FromAgent {
			defer c.agents.Add(-1)
			if c.agents.Add(1) > maxAgents {
				return nil, errors.New("other guest agents do not answer")
			}
		}
		cards, err := d.ListAllInterfaceAddresses(lv.DomainInterfaceAddressesSource(source))
		return cardAddresses(cards), err
	}
	return withDomain(ctx, c.session, "ask the addresses of", name, ask)
}

func cardAddresses(cards []lv.DomainInterface) []libvirt.CardAddresses {
	var all []libvirt.CardAddresses
	for _, card := range cards {
		c := libvirt.CardAddresses{MAC: card.Hwaddr}
		for _, a := range card.Addrs {
			if addr, err := netip.ParseAddr(a.Addr); err == nil {
				c.Addrs = append(c.Addrs, addr)
			}
		}
		if len(c.Addrs) > 0 {
			all = append(all, c)
		}
	}
	return all
}
