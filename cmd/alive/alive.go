package alive

import (
	"context"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Ping tells systemd until ctx ends that this daemon is alive, each time only after alive has returned nil within the
// interval: a daemon whose work hangs ends the pings, and systemd starts it again (WatchdogSec= in systemd.service(5)).
// The interval should be half of that of [daemon.SdWatchdogEnabled]; 0 is that of a systemd that expects no pings.
func Ping(ctx context.Context, every time.Duration, alive func(ctx context.Context) error) {
	ping(ctx, every, alive, func() { _, _ = daemon.SdNotify(false, daemon.SdNotifyWatchdog) })
}

func ping(ctx context.Context, every time.Duration, alive func(ctx context.Context) error, notify func()) {
	if every <= 0 {
		<-ctx.Done()
		return
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		answer, cancel := context.WithTimeout(ctx, every)
		if alive(answer) == nil && ctx.Err() == nil {
			notify()
		}
		cancel()
	}
}
