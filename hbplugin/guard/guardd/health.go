package guardd

import (
	"context"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/health"
	"github.com/vmferry/vmferry/hbplugin/guard/lease"
	"github.com/vmferry/vmferry/hbplugin/guard/protocol"
)

const (
	healthEvery = time.Second
	// healthAgain is when a colour that has not changed is set again: Pacemaker forgets it when it is restarted.
	healthAgain = 30 * time.Second
	healthTime  = 5 * time.Second // for the cluster manager to take it
)

// healther keeps the node health attribute as the other slots and this node's own require it.
func (d *Daemon) healther(ctx context.Context) {
	if d.Node.Health == nil {
		return
	}
	var judge health.Judge
	var set health.Color
	var at time.Duration
	every(ctx, healthEvery, func() {
		var facts health.Facts
		var now time.Duration
		if !d.ask(ctx, func(t time.Duration) { facts, now = d.healthFacts(t), t }) {
			return
		}
		color := judge.Next(facts.Worse(), now)
		if color == set && now-at < healthAgain {
			return
		}
		bounded, cancel := context.WithTimeout(ctx, healthTime)
		defer cancel()
		if err := d.Node.Health(bounded, color); err != nil {
			d.Log.WithError(err).Debug("set the node health attribute")
			return
		}
		if set != color && (set != "" || color != health.Green) {
			d.Log.WithField("reached", facts.Reached).Warnf("the health of this node is %s", color)
		}
		set, at = color, now
	})
}

// healthFacts are what the rule looks at; the loop's alone.
func (d *Daemon) healthFacts(now time.Duration) health.Facts {
	phase, _ := d.guard.Phase()
	lasts := d.Header.Times.SelfKill
	f := health.Facts{Held: phase == protocol.Held, Reached: d.Node.Measure().Reached,
		Mute: max(d.guard.WriteAge(now), d.guard.ReadAge(now)) >= lasts}
	for _, v := range d.guard.Views(now) {
		if v.Member && v.Slot.State == lease.Held {
			f.Others = append(f.Others, health.Other{Reached: v.Slot.Reached, Writes: v.Wrote < lasts})
		}
	}
	return f
}
