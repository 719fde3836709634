package guardd

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/lease"
	"github.com/vmferry/vmferry/hbplugin/guard/protocol"
	"github.com/vmferry/vmferry/migrate/wait"
)

// each calls f with what comes over the channel, one after the other, until ctx ends.
func each[T any](ctx context.Context, c <-chan T, f func(T)) {
	for {
		select {
		case v := <-c:
			f(v)
		case <-ctx.Done():
			return
		}
	}
}

// opened opens the device again and again until that succeeds or ctx ends.
func (d *Daemon) opened(ctx context.Context) Blocks {
	for {
		device, err := d.Open()
		if err == nil {
			return device
		}
		d.Log.WithError(err).Error("open the lease device")
		if wait.For(ctx, d.Header.Times.Renew) != nil {
			return nil
		}
	}
}

// renewer writes the own slot, one write at a time.
func (d *Daemon) renewer(ctx context.Context) {
	device := d.opened(ctx)
	every(ctx, d.Header.Times.Renew, func() {
		var slot lease.Slot
		var due bool
		var begun time.Duration
		if !d.ask(ctx, func(now time.Duration) { begun = now; slot, due = d.guard.Renewal(now) }) || !due {
			return
		}
		if err := device.WriteSlot(slot); err != nil {
			d.Log.WithError(err).Error("renew the lease")
			return
		}
		d.do(ctx, func(now time.Duration) { d.guard.Renewed(slot, begun, now) })
	})
}

// reader reads every slot, and the claims against this node.
func (d *Daemon) reader(ctx context.Context) {
	device := d.opened(ctx)
	every(ctx, d.Header.Times.Poll, func() {
		looked := d.Now()
		if own, err := device.Slot(d.ID); err == nil {
			d.do(ctx, func(now time.Duration) { d.guard.OwnSlot(own, looked, now) })
		}
		for _, id := range d.others() {
			begun := d.Now()
			if slot, err := device.Slot(id); err == nil {
				d.do(ctx, func(now time.Duration) { d.guard.Slot(slot, begun, now) })
			}
			if claim, err := device.Claim(id, d.ID); err == nil {
				d.do(ctx, func(time.Duration) { d.guard.Claim(claim) })
			}
		}
	})
}

// claimer writes the own claims that the loop has handed out last.
func (d *Daemon) claimer(ctx context.Context) {
	device := d.opened(ctx)
	each(ctx, d.claims, func(claims []lease.Claim) {
		for _, c := range claims {
			if err := device.WriteClaim(c); err != nil {
				d.Log.WithError(err).WithField("node", d.name(c.Target)).Error("write the claim")
				continue
			}
			d.do(ctx, func(time.Duration) { d.guard.ClaimWritten(c) })
		}
	})
}

// outEvery is how often a node without a lease looks for guests, which nobody may start there.
const outEvery = time.Second

// killer kills for as long as that is ordered.
func (d *Daemon) killer(ctx context.Context) {
	each(ctx, d.kill, func(k killing) {
		during, cancel := until(ctx, k.over)
		defer cancel()
		switch {
		case k.phase == protocol.Killing && k.generation == d.surrendered:
			if d.proven(during, d.Node.Prove) {
				d.emptiedIn(ctx, k)
			}
		case k.phase == protocol.Killing:
			if d.proven(during, d.Node.Surrender) {
				d.surrendered = k.generation
				d.emptiedIn(ctx, k)
			}
		case k.phase == protocol.Out:
			d.proven(during, d.Node.Prove)
			_ = wait.For(during, outEvery)
		}
		_ = wait.For(ctx, step)
	})
}

// until is a context that ends when over is closed: what was begun in one phase must not touch the guests of the next.
func until(ctx context.Context, over <-chan struct{}) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-over:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// emptiedIn has the guard know that no guest is left. A proof of an earlier phase is none.
func (d *Daemon) emptiedIn(ctx context.Context, k killing) {
	d.do(ctx, func(now time.Duration) {
		if k.over == d.over {
			d.emptied(now)
			d.Node.Leased(0, 0)
		}
	})
}

// proven reports whether all guests are proven gone. It bounds one try, so that each failure is reported.
func (d *Daemon) proven(during context.Context, prove func(context.Context) error) bool {
	ctx, cancel := context.WithTimeout(during, 10*d.Header.Times.Kill)
	defer cancel()
	err := prove(ctx)
	if err != nil && during.Err() == nil {
		d.Log.WithError(err).Error("kill the guests")
	}
	return err == nil
}

// mover moves the guests to the node whose claim has won.
func (d *Daemon) mover(ctx context.Context) {
	each(ctx, d.move, func(m move) {
		select {
		case <-m.over: // the guests that run now are of the next lease
			return
		default:
		}
		left := m.until - d.Now()
		if left <= 0 {
			return
		}
		bounded, cancel := context.WithTimeout(ctx, left)
		err := d.Node.Move(bounded, m.to)
		cancel()
		why := "all guests that can be moved live were moved"
		if err != nil {
			d.Log.WithError(err).WithField("peer", m.to).Warn("migrate the guests before the surrender")
			why, _, _ = strings.Cut(err.Error(), "\n") // the log has the others
		}
		if err == nil || errors.Is(err, ErrStuck) {
			d.do(ctx, func(time.Duration) {
				if m.over == d.over {
					d.guard.Stuck(why)
				}
			})
		}
	})
}

// revoker revokes the access of nodes whose lease has expired: one that takes its time does not delay that of another.
func (d *Daemon) revoker(ctx context.Context) {
	each(ctx, d.revoke, func(r protocol.Revocation) { go d.revokeOnce(ctx, r) })
}

func (d *Daemon) revokeOnce(ctx context.Context, r protocol.Revocation) {
	bounded, cancel := context.WithTimeout(ctx, d.Header.Times.Revoke)
	err := d.Node.Revoke(bounded, d.name(r.Node), r.Generation)
	cancel()
	if err != nil {
		d.Log.WithError(err).WithField("node", d.name(r.Node)).Error("revoke the access to the disks")
		_ = wait.For(ctx, d.Header.Times.Poll)
	}
	d.do(ctx, func(now time.Duration) {
		delete(d.revoking, r)
		if err == nil {
			d.guard.Revoked(r.Node, r.Generation, now)
		}
	})
}

// silencer kills the cluster manager's daemons when that is ordered.
func (d *Daemon) silencer(ctx context.Context) {
	each(ctx, d.mute, func(struct{}) {
		if d.Node.Silence == nil {
			return
		}
		if err := d.Node.Silence(ctx); err != nil {
			d.Log.WithError(err).Error("kill the cluster manager after a hang")
		}
	})
}

// rejoiner restarts the cluster manager: after a surrender, or as it fences in vain.
func (d *Daemon) rejoiner(ctx context.Context) {
	each(ctx, d.rejoin, func(struct{}) {
		err := d.Node.Rejoin(ctx, d.hears(ctx))
		if err != nil {
			d.Log.WithError(err).Error("restart the cluster manager")
			_ = wait.For(ctx, time.Second)
		}
		d.do(ctx, func(time.Duration) {
			d.rejoining = false
			if err == nil {
				d.vain = 0
				d.guard.Rejoined()
			}
		})
	})
}

// admitter opens this node's access to the disks for each generation that is held.
func (d *Daemon) admitter(ctx context.Context) {
	each(ctx, d.admit, func(generation uint64) {
		if d.Node.Admit == nil {
			return
		}
		bounded, cancel := context.WithTimeout(ctx, 10*d.Header.Times.Revoke)
		err := d.Node.Admit(bounded, generation)
		cancel()
		if err == nil {
			d.do(ctx, func(time.Duration) { d.admitted = generation })
			return
		}
		d.Log.WithError(err).Error("open this node's access to the disks")
		if wait.For(ctx, time.Second) == nil {
			d.do(ctx, func(time.Duration) {
				if d.phase == protocol.Held && d.guard.Generation() == generation {
					latest(d.admit, generation)
				}
			})
		}
	})
}

// feeder feeds the watchdog. What was ordered a while ago is not done any more: the lease may be lost since.
func (d *Daemon) feeder(ctx context.Context) {
	each(ctx, d.feed, func(ordered time.Duration) {
		if d.Now()-ordered > d.Header.Times.Margin/2 {
			return
		}
		if err := d.Node.Feed(); err != nil {
			d.Log.WithError(err).Error("feed the watchdog")
		}
	})
}

// membersEvery is how often the cluster manager has to list its members.
const membersEvery = 500 * time.Millisecond

// members keeps what the cluster manager says. A manager that does not answer has no members: no guard calls a node
// back that it does not see.
func (d *Daemon) members(ctx context.Context) {
	every(ctx, membersEvery, func() { d.readMembers(ctx) })
}

func (d *Daemon) readMembers(ctx context.Context) {
	bounded, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	names, err := d.Node.Members(bounded)
	if err != nil {
		d.Log.WithError(err).Debug("the members of the cluster are unknown")
		names = nil
	}
	d.do(ctx, func(time.Duration) {
		d.answered = err == nil
		for _, id := range d.others() {
			d.guard.Member(id, slices.Contains(names, d.name(id)))
		}
	})
}

// announcer announces the guests to the network when that is ordered.
func (d *Daemon) announcer(ctx context.Context) {
	each(ctx, d.announce, func(struct{}) {
		if d.Node.Announce == nil {
			return
		}
		if err := d.Node.Announce(ctx); err != nil {
			d.Log.WithError(err).Warn("announce the guests after the surrender of another node")
		}
	})
}
