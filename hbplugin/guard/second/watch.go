package second

import (
	"context"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/wait"
)

// step is how often the second looks at the page.
const step = 20 * time.Millisecond

// again is how often guests are looked for that were started after the lease had run out.
const again = time.Second

// Watch kills the guests for as long as the lease on the page has run out, until ctx ends. now is the guard's clock.
// surrender kills every guest and ends all that could bring one, and is called until it succeeds once; prove kills every
// guest that was started since. Both return nil when all are proven gone. surrender must not be called again and again:
// it ends libvirt's daemons, and systemd gives up on a unit that ends too often.
func Watch(ctx context.Context, p *Page, now func() time.Duration, surrender, prove func(context.Context) error,
	log logrus.FieldLogger,
) {
	over := time.Duration(-1) // the end of the lease that was the last to run out
	var next time.Duration    // when the guests are looked for again
	for wait.For(ctx, step) == nil {
		until := p.Until()
		if until == 0 || now() < until || until == over && now() < next {
			continue
		}
		first, kill := until != over, prove
		if first {
			log.Warn("the guard does not renew the lease: killing the guests")
			kill = surrender
		}
		during, cancel := whileOver(ctx, p, now)
		err := kill(during)
		renewed := during.Err() != nil
		if cancel(); renewed {
			continue
		}
		if err != nil {
			log.WithError(err).Error("kill the guests")
			continue
		}
		if first {
			log.Warn("no guest is left")
		}
		over, next = until, now()+again
	}
}

// whileOver is a context that ends when the guard has renewed the lease, or says that no guest is left: a kill that
// takes its time must not go on under the next lease.
func whileOver(ctx context.Context, p *Page, now func() time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		for wait.For(ctx, step) == nil {
			if until := p.Until(); until == 0 || now() < until {
				cancel()
			}
		}
	}()
	return ctx, cancel
}
