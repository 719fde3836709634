package migrate

import (
	"context"
	"time"

	"github.com/vmferry/vmferry/migrate/qmp"
	"github.com/vmferry/vmferry/migrate/wait"
)

// RestTime is how long a guest that came to run at the target may have the processors of both nodes for itself: it
// begins with cold caches, and whoever asks libvirt about it in that time keeps its clients waiting.
const RestTime = time.Second

// rest waits until the guest has run for [Request.Rest] at the target. What comes after it is the move's own
// account: libvirt has said that the guest runs there, and nothing of it becomes less true by waiting.
func (m *mover) rest(ctx context.Context) {
	resume, ran := m.events.Timeline().Find(qmp.Target, qmp.PhaseResume)
	if !ran {
		return
	}
	if left := restFor(m.req.Rest, time.Since(resume.Received), m.left()); left > 0 && !m.req.awaited() {
		defer m.step("rest")()
		_ = wait.For(ctx, left) // what follows sees the end of ctx for itself
	}
}

// restFor is how much longer a guest rests that has run for so long. Where time is short, it does not.
func restFor(rest, ran, left time.Duration) time.Duration {
	if left < 2*rest {
		return 0
	}
	return max(rest-ran, 0)
}
