package client

import (
	"context"
	"sync"
	"time"

	lv "libvirt.org/go/libvirt"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// watched are the events that show how a migration goes.
const watched = "^(STOP|RESUME|RESET|SHUTDOWN|MIGRATION|MIGRATION_PASS|GUEST_PANICKED)$"

// Watch calls f for each of QEMU's migration and run-state events of the named
// domain, which need not exist yet: at a migration's target it appears later. f runs
// on the event loop and must not block. The returned function ends the
// watch and takes two seconds at most. Drivers other than QEMU's give [libvirt.ErrUnsupported].
// When the connection breaks no more events come, and nobody says so.
//
// Source: virConnectDomainQemuMonitorEventRegister, which does not taint the domain.
func (c Migrations) Watch(ctx context.Context, name string, f func(libvirt.Event)) (stop func(), err error) {
	callback := func(_ *lv.Connect, d *lv.Domain, e *lv.DomainQemuMonitorEvent) {
		received := time.Now()
		if got, err := d.GetName(); err != nil || got != name { // local, no round trip
			return
		}
		f(libvirt.Event{Name: e.Event, Seconds: e.Seconds, Micros: e.Micros, Details: e.Details, Received: received})
	}
	id, err := call(ctx, c.session, "watch", name, func() (int, error) {
		return c.lv.DomainQemuMonitorEventRegister(nil, watched, callback,
			lv.CONNECT_DOMAIN_QEMU_MONITOR_EVENT_REGISTER_REGEX)
	})
	if err != nil {
		return nil, err
	}
	return sync.OnceFunc(func() { c.unwatch(name, id) }), nil
}

func (c Migrations) unwatch(name string, id int) {
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	_ = do(ctx, c.session, "unwatch", name, func() error { return c.lv.DomainQemuEventDeregister(id) })
}
