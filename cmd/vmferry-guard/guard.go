package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/cmd/alive"
	"github.com/vmferry/vmferry/hbplugin/guard/control"
	"github.com/vmferry/vmferry/hbplugin/guard/device"
	"github.com/vmferry/vmferry/hbplugin/guard/guardd"
	"github.com/vmferry/vmferry/hbplugin/guard/health"
	"github.com/vmferry/vmferry/hbplugin/guard/host"
	"github.com/vmferry/vmferry/hbplugin/guard/journal"
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

// managerTime is how long the cluster manager may be silent: some of its answers are late on a busy node.
const managerTime = 3 * time.Second

// watchEvery is how often the guests and their sockets are looked at.
const watchEvery = 200 * time.Millisecond

// journalPath is the file of what the guard did.
var journalPath = filepath.Join(notes.DefaultStateDir, journal.File)

// killer ends the guests of the cluster on this node. It knows the sockets that an earlier guard has left, watches the
// guests until ctx ends, and keeps their sockets in the file at path.
func killer(ctx context.Context, path string, log logrus.FieldLogger) *surrender.Killer {
	store := notes.Open(notes.DefaultRunDir, notes.DefaultStateDir)
	k := &surrender.Killer{
		List: host.Guests(store, local.ListAll),
		Kill: func(ctx context.Context, p hostproc.Process) error { return local.Kill(ctx, p, 0) },
		Daemons: func(ctx context.Context) ([]hostproc.Process, error) {
			return hostproc.Host{}.Daemons(ctx, "libvirtd", "virtqemud", "virtxend")
		},
		Now: hostproc.Uptime,
	}
	k.Recall(surrender.GuardSockets, surrender.SecondSockets)
	go k.Watch(ctx, watchEvery)
	go k.Keep(ctx, path, func(err error) {
		log.WithError(err).Error("the next guard would not know the guests' sockets")
	})
	return k
}

// guard is the guard itself.
func guard(ctx context.Context, o options, log *logrus.Logger) error {
	prepared := prepare(log)
	me, err := identify(ctx, o.config, clusters)
	if err == nil {
		me.watchdog, err = watchdogOf(me.settings.Watchdog, armedPath, me.header.Times.Watchdog(), log)
	}
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
		Header: me.header, ID: me.id, Instance: me.instance, Log: log, Prepared: prepared,
		Policy: protocol.Policy{Revoke: len(me.settings.Revoke) > 0, TrustExpiry: me.settings.TrustExpiry},
		Open:   func() (guardd.Blocks, error) { return device.Open(me.settings.Device, true) },
	}
	var guests func(context.Context) (int, error)
	c.Node, guests = me.node(ctx, page, log)
	if err := me.mayBegin(ctx, guests); err != nil {
		return err
	}
	if good, generation := page.Good(); page.Until() != 0 && generation != 0 {
		c.Good, c.Previous = good, lease.Slot{Node: me.id, Instance: me.instance, Generation: generation,
			State: lease.Held}
	}
	if c.OpenItself = slices.Equal(me.manager, host.Heartbeat); c.OpenItself && len(me.settings.Link) == 0 {
		return misconfigured{errors.New("link: Heartbeat is started again when another node is heard: name every node")}
	}
	if c.OpenItself {
		go probe(ctx, me.managers, notes.Open(notes.DefaultRunDir, notes.DefaultStateDir), log)
	}
	if len(me.settings.Link) > 0 {
		udp, err := guardd.NewUDP(me.links())
		if err != nil {
			return err
		}
		c.Link = udp
	}
	go keepSecond(ctx, c.Node.SecondRuns, runSecond, log)
	d := guardd.New(c)
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	go me.follow(ctx, func() { end(errReplaced) })
	err = me.serve(ctx, d, leaving{guests: guests, run: programs, surrender: d.Surrender}, log)
	if errors.Is(context.Cause(ctx), errReplaced) {
		err = errors.Join(errReplaced, err)
	}
	return err
}

// node is what the guard works with, and how many guests run here.
func (me *identity) node(ctx context.Context, page *second.Page, log logrus.FieldLogger) (guardd.Node,
	func(context.Context) (int, error),
) {
	k, pinger, run := killer(ctx, surrender.GuardSockets, log), reach.NewPinger(me.settings.Ping), programs
	go func() {
		if err := pinger.Run(ctx); err != nil {
			log.WithError(err).Error("the ping list is not measured")
		}
	}()
	var answered atomic.Int64 // when the cluster manager last did
	n := guardd.Node{
		Prove: k.Prove, Surrender: k.Surrender,
		Move: runMove, Announce: runAnnounce,
		Members: func(ctx context.Context) ([]string, error) {
			names, err := me.members(ctx)
			if err == nil {
				answered.Store(int64(hostproc.Uptime()))
			}
			return names, err
		},
		Silence: func(ctx context.Context) error { return host.Silence(ctx, me.manager, run) },
		Rejoin: func(ctx context.Context, heard func() bool) error {
			return host.Rejoin(ctx, me.manager, run, heard)
		},
		Measure: func() protocol.Here {
			return protocol.Here{Reached: pinger.Reached(), Guests: k.Known(), Watchdog: me.watchdog.declared(),
				Unmanaged: hostproc.Uptime()-time.Duration(answered.Load()) > managerTime}
		},
		SecondRuns: func() bool { return page.Runs(second.Second) },
		Record:     func(e journal.Event) error { return journal.Append(journalPath, e) },
		Leased: func(until time.Duration, generation uint64) {
			if until == 0 {
				page.Released()
				return
			}
			page.Leased(until, until-me.header.Times.SelfKill, generation)
		},
	}
	me.optional(&n, run)
	return n, func(ctx context.Context) (int, error) { all, err := k.List(ctx); return hostproc.CountGuests(all), err }
}

// optional is what a node has only where it is set up so.
func (me *identity) optional(n *guardd.Node, run command.Runner) {
	if slices.Equal(me.manager, host.Pacemaker) {
		n.Health = func(ctx context.Context, color health.Color) error { return host.SetHealth(ctx, run, color) }
	}
	if program := host.Access(me.settings.Revoke); len(program) > 0 {
		n.Revoke = func(ctx context.Context, node string, generation uint64) error {
			return program.Run(ctx, run, host.Subject{Node: node, ID: me.header.ID(node), Generation: generation})
		}
	}
	if program := host.Access(me.settings.Admit); len(program) > 0 {
		n.Admit = func(ctx context.Context, generation uint64) error {
			return program.Run(ctx, run, host.Subject{Node: me.name(), ID: me.id, Generation: generation})
		}
	}
	if me.watchdog != nil {
		n.Feed = me.watchdog.feed
	}
}

// serve runs the daemon and its control socket. The watchdog is armed only when the lease device has been read: a node
// whose storage is away must not be reset again and again.
func (me *identity) serve(ctx context.Context, d *guardd.Daemon, l leaving, log logrus.FieldLogger) error {
	listener, err := socket.Listen(control.Socket, "vmferry-guard")
	if err != nil {
		return fmt.Errorf("listen for fence calls: %w", err)
	}
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	early := context.AfterFunc(ctx, cancel)
	return d.Run(work, func() error {
		if w := me.watchdog; w != nil {
			if err := w.begin(d.Kills()); err != nil {
				return err
			}
			l.disarm = w.disarm
		}
		early()
		context.AfterFunc(ctx, func() { l.end(log); cancel() })
		go control.Serve(work, listener, d.Answer)
		if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
			log.WithError(err).Warn("tell systemd that the guard is ready")
		}
		every, err := daemon.SdWatchdogEnabled(false)
		if err != nil {
			log.WithError(err).Warn("systemd does not start the guard again where it hangs")
		}
		go alive.Ping(work, every/2, d.Alive)
		return nil
	})
}
