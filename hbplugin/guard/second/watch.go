package second

import (
	"context"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/wait"
)

// step is how often the second looks at the page.
const step = 20 * time.Millisecond

// Watch kills the guests whenever the lease on the page has run out, until ctx ends. now is the guard's clock, and prove
// kills every guest and returns nil when all are proven gone.
func Watch(ctx context.Context, p *Page, now func() time.Duration, prove func(context.Context) error,
	log logrus.FieldLogger,
) {
	done := time.Duration(-1) // the end of the lease whose guests are proven gone
	for wait.For(ctx, step) == nil {
		until := p.Until()
		if until == 0 || now() < until || until == done {
			continue
		}
		log.Warn("the guard does not renew the lease: killing the guests")
		if err := prove(ctx); err != nil {
			log.WithError(err).Error("kill the guests")
			continue
		}
		done = until
		log.Warn("no guest is left")
	}
}
