package resource

import (
	"context"
	"time"

	"github.com/vmferry/vmferry/migrate/ladder"
)

// Reserves of an action with the usual timeout. Shorter timeouts scale them down.
const (
	// killReserve is the end of what a stop keeps for destroying, for our own SIGTERM and SIGKILL.
	killReserve = 5 * time.Second
	// answerReserve is for reporting, before the manager kills the agent.
	answerReserve = time.Second
	// callLimit is how long one question to libvirt may take. A daemon that needs
	// longer is called blocked.
	callLimit = 10 * time.Second
	// checkReserve is for looking where the guest is after a migration that failed. The
	// migration keeps its own reserve for taking itself back.
	checkReserve = 3 * time.Second
	// startReserve is what a start that waits for another node keeps for the guest itself.
	startReserve = 15 * time.Second
)

// budget is how an action's time is spent, each counted from its start.
type budget struct {
	end      time.Duration // all work ends
	save     time.Duration // a stop: saving the guest is given up, so that it can still shut down
	graceful time.Duration // a stop: patience with the guest ends, destroy begins
	destroy  time.Duration // a stop: patience with libvirt ends, kill begins
	migrate  time.Duration // a migration must have returned
	wait     time.Duration // a start: patience with what is on its way between nodes ends
	stable   time.Duration // an unclear answer is taken as it is
	call     time.Duration // length of one question to libvirt
}

// newBudget divides a timeout, which must be positive.
func newBudget(timeout time.Duration) budget {
	end := timeout - min(answerReserve, timeout/10)
	reserve := min(ladder.DestroyTime, timeout/2)
	return budget{
		end:      end,
		save:     (end - reserve) * 2 / 3, // the guest's own shutdown gets the rest
		graceful: end - reserve,
		destroy:  end - min(killReserve, reserve/3),
		migrate:  end - min(checkReserve, timeout/10),
		wait:     end - min(startReserve, timeout/4),
		stable:   end / 2,
		call:     min(callLimit, timeout/3),
	}
}

// schedule is when an action began, and how it spends its time.
type schedule struct {
	budget budget
	began  time.Time
}

// until is when the given part of the action's time is over.
func (s schedule) until(part time.Duration) time.Time { return s.began.Add(part) }

// at makes a context that ends when the given part of the action's time is over.
func (s schedule) at(ctx context.Context, part time.Duration) (context.Context, context.CancelFunc) {
	return context.WithDeadline(ctx, s.until(part))
}
