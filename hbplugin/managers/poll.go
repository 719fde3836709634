package managers

import (
	"context"
	"time"

	"github.com/vmferry/vmferry/hbplugin/shutdown"
	"github.com/vmferry/vmferry/migrate/wait"
)

// Poll calls look until it is done or ctx ends, and every so often at most: where a look takes long, less. The last
// look is at end, unless that is zero or has passed.
func Poll(ctx context.Context, every time.Duration, end time.Time, look func() (done bool)) {
	for {
		begun := time.Now()
		if look() {
			return
		}
		next := begun.Add(shutdown.Every(every, time.Since(begun)))
		if begun.Before(end) && next.After(end) {
			next = end
		}
		if wait.For(ctx, time.Until(next)) != nil {
			return
		}
	}
}
