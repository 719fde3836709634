package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/hbplugin/config"
	"github.com/vmferry/vmferry/hbplugin/guard/control"
	"github.com/vmferry/vmferry/hbplugin/guard/device"
	"github.com/vmferry/vmferry/hbplugin/guard/guardd"
	"github.com/vmferry/vmferry/hbplugin/guard/health"
	"github.com/vmferry/vmferry/hbplugin/guard/host"
	"github.com/vmferry/vmferry/hbplugin/guard/lease"
	"github.com/vmferry/vmferry/hbplugin/guard/protocol"
	"github.com/vmferry/vmferry/hbplugin/guard/reach"
	"github.com/vmferry/vmferry/hbplugin/guard/second"
	"github.com/vmferry/vmferry/hbplugin/guard/surrender"
	"github.com/vmferry/vmferry/resource/agentd/socket"
	"github.com/vmferry/vmferry/resource/command"
	"github.com/vmferry/vmferry/resource/hostproc"
	"github.com/vmferry/vmferry/resource/hostproc/local"
	"github.com/vmferry/vmferry/resource/notes"
)

// watchEvery is how often the guests and their sockets are looked at.
const watchEvery = 200 * time.Millisecond

// killer ends the guests of the cluster on this node.
func killer() *surrender.Killer {
	store := notes.Open(notes.DefaultRunDir, notes.DefaultStateDir)
	return &surrender.Killer{
		List: host.Guests(store, local.List),
		Kill: func(ctx context.Context, p hostproc.Process) error { return hostproc.Host{}.Kill(ctx, p, 0) },
		Daemons: func(ctx context.Context) ([]hostproc.Process, error) {
			return hostproc.Host{}.Daemons(ctx, "libvirtd", "virtqemud", "virtxend")
		},
		Now: hostproc.Uptime,
	}
}

// guard is the guard itself.
func guard(ctx context.Context, o options, log *logrus.Logger) error {
	prepare(log)
	me, err := identify(ctx, o.config)
	if err != nil {
		return err
	}
	page, err := second.OpenPage(second.PagePath, second.Guard)
	if errors.Is(err, second.ErrBusy) { // it may end: one that was killed while its storage hung ends with the write
		return errors.New("another vmferry-guard runs on this node")
	}
	if err != nil {
		return err
	}
	c := guardd.Config{
		Header: me.header, ID: me.id, Instance: me.instance, Log: log,
		Policy: protocol.Policy{Revoke: len(me.settings.Revoke) > 0, TrustExpiry: me.settings.TrustExpiry},
		Open:   func() (guardd.Blocks, error) { return device.Open(me.settings.Device, true) },
		Node:   me.node(ctx, page, log),
	}
	if good, generation := page.Good(); page.Until() != 0 && generation != 0 {
		c.Good, c.Previous = good, lease.Slot{Node: me.id, Instance: me.instance, Generation: generation, State: lease.Held}
	}
	if len(me.settings.Link) > 0 {
		udp, err := guardd.NewUDP(me.links())
		if err != nil {
			return err
		}
		c.Link = udp
	}
	go keepSecond(ctx, log)
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	go me.follow(ctx, func() { end(errReplaced) })
	err = serve(ctx, guardd.New(c), log)
	if errors.Is(context.Cause(ctx), errReplaced) {
		err = errors.Join(errReplaced, err)
	}
	return err
}

// node is what the guard works with.
func (me *identity) node(ctx context.Context, page *second.Page, log logrus.FieldLogger) guardd.Node {
	k, pinger, run := killer(), reach.NewPinger(me.settings.Ping), command.Execute(os.Environ())
	go k.Watch(ctx, watchEvery)
	go func() {
		if err := pinger.Run(ctx); err != nil {
			log.WithError(err).Error("the ping list is not measured")
		}
	}()
	var members atomic.Int64
	n := guardd.Node{
		Prove: k.Prove, Surrender: k.Surrender,
		Move: runMove,
		Members: func(ctx context.Context) ([]string, error) {
			names, err := me.members(ctx)
			members.Store(int64(len(names)))
			return names, err
		},
		Rejoin: func(ctx context.Context) error {
			return host.Rejoin(ctx, me.manager(), run, func() bool { return members.Load() > 1 })
		},
		Measure: func() protocol.Here {
			return protocol.Here{Reached: pinger.Reached(), Guests: k.Known()}
		},
		Leased: func(until time.Duration, generation uint64) {
			if until == 0 {
				page.Released()
				return
			}
			page.Leased(until, until-me.header.Times.SelfKill, generation)
		},
	}
	if me.general.Manager != config.Heartbeat {
		n.Health = func(ctx context.Context, color health.Color) error { return host.SetHealth(ctx, run, color) }
	}
	if program := host.Access(me.settings.Revoke); len(program) > 0 {
		n.Revoke = func(ctx context.Context, node string, generation uint64) error {
			return program.Run(ctx, run, node, generation)
		}
	}
	if program := host.Access(me.settings.Admit); len(program) > 0 {
		n.Admit = func(ctx context.Context, generation uint64) error {
			return program.Run(ctx, run, me.name(), generation)
		}
	}
	return n
}

// serve runs the daemon and its control socket.
func serve(ctx context.Context, d *guardd.Daemon, log logrus.FieldLogger) error {
	listener, err := socket.Listen(control.Socket, "vmferry-guard")
	if err != nil {
		return fmt.Errorf("listen for fence calls: %w", err)
	}
	return d.Run(ctx, func() {
		go control.Serve(ctx, listener, d.Answer)
		if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
			log.WithError(err).Warn("tell systemd that the guard is ready")
		}
	})
}
