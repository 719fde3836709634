package migrate

import (
	"context"
	"fmt"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/qmp"
)

// listen has the events of both ends put into the log until stop is called. Without events a guest can be moved all
// the same, with less to tell: a failure is a note.
func (m *mover) listen(ctx context.Context) (stop func()) {
	if !m.driver.Can(libvirt.CanTellPause) {
		return func() {}
	}
	var stops []func()
	from := func(s *side, which qmp.Side) bool {
		if s.host == nil { // only where a migration was adopted whose target gives no answer
			return false
		}
		ctx, cancel := context.WithTimeout(ctx, askTime)
		defer cancel()
		end, err := s.host.Watch(ctx, m.req.Guest, func(e libvirt.Event) { m.events.Add(which, e) })
		if err != nil {
			m.note(fmt.Sprintf("no events from the %s: %v", which, err))
			return false
		}
		stops = append(stops, end)
		return true
	}
	m.hears.source = from(&m.source, qmp.Source)
	m.hears.target = from(&m.target, qmp.Target)
	return func() {
		for _, end := range stops {
			end()
		}
	}
}
