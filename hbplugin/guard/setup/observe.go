package setup

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/vmferry/vmferry/hbplugin/config"
	"github.com/vmferry/vmferry/hbplugin/guard/control"
	"github.com/vmferry/vmferry/hbplugin/guard/device"
	"github.com/vmferry/vmferry/hbplugin/guard/lease"
	"github.com/vmferry/vmferry/hbplugin/guard/settings"
	"github.com/vmferry/vmferry/hbplugin/guard/timing"
	"github.com/vmferry/vmferry/hbplugin/heartbeat"
	"github.com/vmferry/vmferry/hbplugin/inventory"
	"github.com/vmferry/vmferry/hbplugin/logind"
	"github.com/vmferry/vmferry/hbplugin/managers"
	"github.com/vmferry/vmferry/hbplugin/ring"
	"github.com/vmferry/vmferry/migrate/shellword"
	"github.com/vmferry/vmferry/migrate/wait"
	"github.com/vmferry/vmferry/resource/command"
	"github.com/vmferry/vmferry/resource/timely"
)

const (
	// DeviceTime bounds what is read from a lease device, or written to it by hand.
	DeviceTime = 15 * time.Second
	// guardTime bounds a question to the guard.
	guardTime = 5 * time.Second
	unit      = "vmferry-guard.service"
)

// Sources are who is asked.
type Sources struct {
	Path     func(name string) string // where a file of the system is
	Run      command.Runner           // runs a program of the cluster manager's
	Unit     func(ctx context.Context, name string) (logind.Unit, error)
	Managers []inventory.Manager // those that run here
	Agents   []string            // the resource agents whose resources are guests
	Node     string              // this node's name by vmferryd's configuration
}

// Look is what is at a path that is or becomes a lease device. Storage that hangs is left behind after DeviceTime, or
// when ctx ends.
func Look(ctx context.Context, path string) (device.State, error) {
	return InTime(ctx, path, func() (device.State, error) { return device.Look(path) })
}

// LookTwice is Look at a path that is to be written, and tells whether guards run on it: it calls waits with the time
// after which one has renewed its slot, waits for so long, and looks again. It does neither where there is no guard to
// see, or a lease is held anyway.
func LookTwice(ctx context.Context, path string, waits func(time.Duration)) (device.State, error) {
	first, err := Look(ctx, path)
	if err != nil || first.Header == nil || len(first.Held) > 0 {
		return first, err
	}
	fresh := first.Header.Times.Fresh()
	waits(fresh)
	if err := wait.For(ctx, fresh); err != nil {
		return first, err
	}
	return LookAgain(ctx, path, first)
}

// LookAgain is Look, and tells which guards have written since an earlier look.
func LookAgain(ctx context.Context, path string, earlier device.State) (device.State, error) {
	found, err := Look(ctx, path)
	found.Running = found.Changed(earlier)
	return found, err
}

// InTime calls what may hang with the lease device at path, and leaves it behind after DeviceTime, or when ctx ends.
func InTime[T any](ctx context.Context, path string, f func() (T, error)) (T, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, DeviceTime,
		fmt.Errorf("%s does not respond within %s: its storage hangs",
			path, DeviceTime))
	defer cancel()
	return wait.Within(ctx, f, nil)
}

// Observe asks everybody. It never fails: who gave no answer is in Unusable.
func (s Sources) Observe(ctx context.Context) Observed {
	o := Observed{Node: s.Node}
	s.manager(ctx, &o)
	var err error
	if o.Settings, err = settings.Load(s.Path(settings.Path)); err != nil {
		remedy := ""
		if s.Configured() {
			remedy = "correct it, see guard.toml(5)"
		}
		o.unusable("guard.toml", err, remedy)
		return o
	}
	s.programs(ctx, &o)
	s.device(ctx, &o)
	o.Process = s.process(ctx, &o)
	return o
}

// programs looks whether those of the settings can be run: of revoke nobody else would notice before a node fails.
func (s Sources) programs(ctx context.Context, o *Observed) {
	ctx, cancel := timely.Within(ctx, timely.StorageTime)
	defer cancel()
	for _, each := range []struct {
		key     string
		program []string
	}{{"revoke", o.Settings.Revoke}, {"admit", o.Settings.Admit}} {
		if len(each.program) == 0 {
			continue
		}
		_, err := timely.Get(ctx, func() (string, error) { return exec.LookPath(s.Path(each.program[0])) })
		if err != nil {
			o.unusable("guard.toml", fmt.Errorf("%s cannot be run: %w", each.key, err), "install it, or correct "+each.key)
		}
	}
}

func (o *Observed) unusable(about string, err error, remedy string) {
	o.Unusable = append(o.Unusable, Finding{About: about, Problem: true, What: err.Error(), Type: remedy})
}

// device reads the lease device, and whether it is this node's.
func (s Sources) device(ctx context.Context, o *Observed) {
	path := o.Settings.Device
	found, err := Look(ctx, path)
	remake := "type: " + shellword.Line("vmferry", "guard", "init", "--device", path)
	switch {
	case err != nil:
		o.unusable("device", err, "")
		return
	case found.Header == nil:
		what := "holds other data"
		if found.Missing || found.Empty || found.Damaged {
			what = "is no lease device yet"
		}
		o.unusable("device", fmt.Errorf("%s %s", path, what), remake)
		return
	}
	o.Header, o.OnThisNode = found.Header, OnThisNode(ctx, path)
	for _, slot := range found.Slots {
		o.Watchdog = max(o.Watchdog, slot.Watchdog)
		if slot.Instance == (lease.Instance{}) {
			o.NeverRan = append(o.NeverRan, found.Header.Nodes[slot.Node-1])
		}
	}
	if o.Node = cmp.Or(o.Settings.Node, s.Node); o.Node == "" {
		if o.Node, err = inventory.NodeName(ctx, "", s.Managers); err != nil {
			o.unusable("guard.toml", fmt.Errorf("this node's name is not known: %w", err), "set node in guard.toml")
			return
		}
	}
	if err := o.Settings.Check(*o.Header, o.Node); err != nil {
		o.unusable("guard.toml", err, "correct node or link in guard.toml, or make the lease device again with vmferry guard init")
	}
}

// process asks systemd about the guard, and the guard about itself.
func (s Sources) process(ctx context.Context, o *Observed) Process {
	u, err := s.Unit(ctx, unit)
	if err != nil {
		o.unusable("vmferry-guard", fmt.Errorf("cannot tell whether vmferry-guard runs: %w", err),
			"type: systemctl status vmferry-guard")
	}
	p := Process{Active: u.Active, Enabled: u.Enabled, State: u.State}
	if !u.Loaded {
		p.State = "not installed"
	}
	status, reply, err := Status(ctx, s.Path(control.Socket))
	if err != nil {
		p.Silent = err
		return p
	}
	p.Active = true // however it was started
	p.Prepared, p.Phase, p.NotWell = status.Prepared, status.Phase, reply.Why
	for _, n := range status.Nodes {
		p.Feeds = p.Feeds || n.Name == status.Node && n.WatchdogMS > 0
	}
	return p
}

// Status asks the guard that listens at socket for its status. reply says whether it is well, and if not why.
func Status(ctx context.Context, socket string) (status control.StatusReport, reply control.Reply, err error) {
	ctx, cancel := context.WithTimeout(ctx, guardTime)
	defer cancel()
	reply, err = control.Call(ctx, socket, control.Request{Verb: control.Status})
	if err == nil {
		err = json.Unmarshal(reply.Status, &status)
	}
	return status, reply, err
}

// manager asks the cluster manager that runs here.
func (s Sources) manager(ctx context.Context, o *Observed) {
	for _, m := range s.Managers {
		var err error
		if m.Pacemaker() != nil {
			err = s.pacemaker(ctx, m, o)
		} else {
			err = s.heartbeat(ctx, m, o)
		}
		if err != nil {
			o.unusable(m.String(), fmt.Errorf("not all can be checked: %w", err), "type: systemctl status "+m.String())
		}
		o.ManagerName = m.String()
		s.disks(ctx, m, o)
	}
}

func (s Sources) pacemaker(ctx context.Context, m inventory.Manager, o *Observed) error {
	conf, err := managers.Ask(ctx, m.Pacemaker().Configuration)
	if err != nil {
		return err
	}
	o.Pacemaker = FromCIB(conf, s.Agents)
	ask := func(ctx context.Context) (string, error) { return s.Run(ctx, "corosync-cmapctl") }
	text, err := managers.Ask(ctx, ask)
	if err != nil {
		return err
	}
	q := ring.ParseQuorum(text)
	o.Quorum = &q
	d, err := ring.ParseDetection(text)
	if err != nil {
		return err
	}
	o.Manager = timing.PacemakerAfter(d.After(), 0, 0)
	return nil
}

func (s Sources) heartbeat(ctx context.Context, m inventory.Manager, o *Observed) error {
	client, ok := m.Cluster.(*heartbeat.Client)
	if !ok {
		return errors.New("it is no cluster manager that the guard knows")
	}
	haCf, err := os.ReadFile(s.Path("/etc/ha.d/ha.cf"))
	if err != nil {
		return err
	}
	haresources, err := os.ReadFile(s.Path("/etc/ha.d/haresources"))
	if err != nil {
		return err
	}
	o.Heartbeat = fromHaCf(string(haCf), string(haresources))
	deadtime, err := managers.Ask(ctx, client.Deadtime)
	if err != nil {
		return err
	}
	o.Manager = timing.Heartbeat(deadtime, 0)
	return nil
}

// Configured is whether a guard is set up on this node: guard.toml is there. An error counts as one.
func (s Sources) Configured() bool {
	_, err := os.Lstat(s.Path(settings.Path))
	return !errors.Is(err, os.ErrNotExist)
}

// ManagerOf is the cluster manager's part of a recovery by the configuration of these: what a flag gives counts first.
func ManagerOf(o Observed, token, deadtime time.Duration) (m timing.Manager, name string) {
	switch {
	case token > 0:
		return timing.Pacemaker(token, 0, 0), config.Pacemaker
	case deadtime > 0:
		return timing.Heartbeat(deadtime, 0), config.Heartbeat
	case o.Manager.Detect > 0:
		return o.Manager, o.ManagerName
	}
	return timing.Pacemaker(defaultToken, 0, 0), config.Pacemaker
}

// defaultToken is Corosync's of two nodes where none is set.
const defaultToken = 3 * time.Second
