package resource

import (
	"cmp"
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/wait"
	"github.com/vmferry/vmferry/resource/command"
	"github.com/vmferry/vmferry/resource/observe"
	"github.com/vmferry/vmferry/resource/ocf"
	"github.com/vmferry/vmferry/resource/param"
	"github.com/vmferry/vmferry/resource/timely"
	"github.com/vmferry/vmferry/resource/utilization"
)

// monitor answers whether the guest runs here. A state that is not clear at once gets part of the action's time
// to become so. Where nothing of the guest is here, a probe says so even without the config file, whose file
// system the cluster may have yet to mount: any other answer would ban the resource from the node.
func (a *run) monitor(ctx context.Context) error {
	o := a.lookStable(ctx)
	if o.State == observe.Incoming {
		a.Log.Infof("the guest is arriving and does not run here yet: %s", o)
	}
	if err := decideMonitor(a.guest.Identity, o); err != nil {
		return err
	}
	a.logOddities(o)
	noted := a.isNoted()
	if !a.guess {
		a.tryNoteGuest(o)
		a.images.arrived(ctx)
	}
	return a.maintain(ctx, o, noted)
}

// decideMonitor is the answer for a guest, nil for one that runs here.
func decideMonitor(guest observe.Identity, o observe.Observation) error {
	switch {
	case o.IsRunning():
		return nil
	case o.IsGone() && o.Namesake != nil:
		return ocf.Errorf(ocf.NotRunning, "guest %q with UUID %s does not run here: %s", guest.Name, guest.UUID, o)
	case o.IsGone(), o.State == observe.Incoming:
		return &ocf.Error{Code: ocf.NotRunning}
	}
	return stateError(guest.Name, o)
}

// logOddities logs what an operator should know of a guest that counts as running.
func (a *run) logOddities(o observe.Observation) {
	if edited := a.guest.Configured; edited != nil {
		a.Log.Warnf("the config file describes guest %q with UUID %q by now, and %q with UUID %s runs here: "+
			"the file counts when that one has ended", edited.Name, edited.UUID, a.guest.Name, a.guest.UUID)
	}
	switch {
	case o.LibvirtErr != nil:
		a.Log.WithError(o.LibvirtErr).Warnf("libvirt does not answer, but the guest runs: %v", o.Processes[0])
	case o.Libvirt == observe.Absent || o.Status.State == libvirt.ShutOff:
		a.Log.Warnf("the guest runs without libvirt's knowledge: %s", o)
	case o.Status.State == libvirt.Paused:
		a.Log.Warnf("the guest is here but paused, and counts as running: %s", o)
	}
}

// maintain does what is due at each monitor of a guest that runs; noted says that it was known to run here before. Its
// error is that a service does not work; all else that fails is logged.
func (a *run) maintain(ctx context.Context, o observe.Observation, noted bool) error {
	if a.Probe || a.guess {
		return nil // a probe asks where the guest is, and nothing else
	}
	if a.Command == nil {
		return a.needsPrograms(ctx, o, noted)
	}
	a.adopt(ctx)
	a.saver.remove(ctx, o)
	a.configSaver.save(ctx, o)
	err := a.checkServices(ctx, o)
	if a.mayUpdateUtilization(o) {
		ctx, cancel := timely.Within(ctx, utilizationTime)
		defer cancel()
		newUtilization(a).Update(ctx)
	}
	return err
}

// ErrMore is what Run returns for a monitor of an Agent without Command, where the guest runs and there is more to do
// than to look at it. An Agent that can run programs must make the whole monitor.
var ErrMore = errors.New("there is more to do than to look at the guest")

// needsPrograms returns ErrMore where maintain would do something that takes programs, the network, or the operator's
// files. Of save_dir that is so once: a guest that somebody started by hand must not leave a saved state behind.
func (a *run) needsPrograms(ctx context.Context, o observe.Observation, noted bool) error {
	p := a.Params
	if p.SaveDir != "" && !noted || p.SaveConfig || p.Snapshot != "" || len(p.Scripts) > 0 || p.Checks.Any() {
		return ErrMore
	}
	if m, err := a.mirrored(); m != nil && err == nil && m.isDue(ctx) {
		return ErrMore
	}
	if !a.mayUpdateUtilization(o) {
		return nil
	}
	ctx, cancel := timely.Within(ctx, utilizationTime)
	defer cancel()
	if _, _, due := newUtilization(a).Due(ctx); due {
		return ErrMore
	}
	return nil
}

// mayUpdateUtilization reports whether it is time to set the guest's utilization attributes.
func (a *run) mayUpdateUtilization(o observe.Observation) bool {
	return o.LibvirtErr == nil && !a.isYoung(utilizationAge)
}

// finishArrival ends a start and a migrate_from. As in VirtualDomain, they wait for the monitor scripts.
func (a *run) finishArrival(ctx context.Context) error {
	a.saver.remove(ctx, observe.Observation{})
	if a.Params.SaveConfig && a.action == "migrate_from" {
		a.configSaver.save(ctx, observe.Observation{})
	}
	s := a.services()
	for {
		err := s.runScripts(ctx)
		if err == nil || wait.For(ctx, time.Second) != nil {
			return err
		}
	}
}

// isYoung reports whether the guest was started, or arrived, less than so long ago. The note for the
// node daemon is as old as that; where it is in the future, the clock was set, and nothing is known.
func (a *run) isYoung(age time.Duration) bool {
	here, known := a.notes.Guests.Age(a.Instance)
	return known && here >= 0 && here < age
}

// checkServices asks the services of a guest that somebody has not paused.
func (a *run) checkServices(ctx context.Context, o observe.Observation) error {
	if o.LibvirtErr == nil && o.Status.State == libvirt.Paused {
		return nil
	}
	s := a.services()
	if err := s.runScripts(ctx); err != nil || a.isYoung(s.checks.Grace) {
		return err
	}
	return s.runChecks(ctx)
}

func (a *run) services() services {
	return services{scripts: a.Params.Scripts, checks: a.Params.Checks, run: a.command, ping: a.checkAgent, log: a.Log}
}

// checkAgent does not blame the guest for a libvirt that cannot be asked.
func (a *run) checkAgent(ctx context.Context) error {
	err := a.guest.Call(ctx, func(conn observe.Hypervisor) error { return conn.AgentPing(ctx, a.guest.Ref()) })
	for _, silent := range []error{libvirt.ErrConnect, libvirt.ErrNoDomain, context.DeadlineExceeded} {
		if errors.Is(err, silent) {
			a.Log.WithError(err).Warn("check_agent skipped: libvirt does not answer")
			return nil
		}
	}
	return err
}

const (
	// utilizationTime bounds what an action spends on it.
	utilizationTime = 5 * time.Second
	// utilizationAge is how long a guest has been here before its attributes are set: at first the guest's services
	// need the time. And each value is a change of Pacemaker's configuration, for which it plans again, best not while
	// it is still starting what a crashed node left.
	utilizationAge = 30 * time.Second
)

// tidyUtilization removes attributes of a guest that is not here, and returns how the action ended. One that Pacemaker
// has stopped because they fit on no node has no monitor that could: what remains are its stop, and the probes of
// crm_resource --refresh.
func (a *run) tidyUtilization(ctx context.Context, end error) error {
	u := newUtilization(a)
	away := a.action == "stop" && end == nil || a.isMonitor() && a.Probe && ocf.CodeOf(end) == ocf.NotRunning
	switch {
	case !away || !slices.ContainsFunc(u.Attributes, func(a param.Utilization) bool { return a.Remove }):
	case a.Command == nil:
		return ErrMore
	default:
		ctx, cancel := timely.Within(ctx, utilizationTime)
		defer cancel()
		u.Unset(ctx)
	}
	return end
}

// lookStable looks until the guest's state is one that waiting would not change, for a part of the action's time.
func (a *run) lookStable(ctx context.Context) observe.Observation {
	return a.guest.WaitStable(ctx, a.until(a.budget.stable), a.Probe)
}

// waitRunning returns nil when the guest is seen to run here, and has noted it.
func (a *run) waitRunning(ctx context.Context, how string) (observe.Observation, error) {
	o, ok := a.guest.WaitFor(ctx, func(o observe.Observation) bool { a.adoptArrival(o); return o.IsRunning() })
	if !ok {
		return o, ocf.Errorf(ocf.Generic, "guest %q was %s but does not run in time: %s", a.guest.Name, how, o)
	}
	if err := a.noteGuest(o); err != nil {
		return o, ocf.Wrapf(ocf.Generic, err, "guest %q was %s, but this cannot be noted for the node daemon",
			a.guest.Name, how)
	}
	a.Log.Infof("%s: %s", how, o)
	a.adopt(ctx)
	a.images.arrived(ctx)
	a.removeDepartureNote()
	return o, nil
}

// stateError is the error for a guest that cannot be called running nor stopped.
func stateError(guest string, o observe.Observation) *ocf.Error {
	switch o.State {
	case observe.Stalled:
		return ocf.Errorf(ocf.Generic, "guest %q is here but does not work: %s", guest, o)
	case observe.Switching:
		return ocf.Errorf(ocf.Generic, "guest %q was left paused by a migration: %s", guest, o)
	case observe.Incoming:
		return ocf.Errorf(ocf.Generic, "guest %q is arriving by a migration and does not run yet: %s", guest, o)
	}
	return ocf.Errorf(ocf.Generic, "cannot tell whether guest %q runs here: %s", guest, o)
}

// reload is called when only parameters changed that the meta-data call reloadable. Each action reads them again, so
// that they are only checked, and the note for the node daemon, which has some of them, is written.
func (a *run) reload(ctx context.Context) error {
	if err := a.validate(ctx); err != nil {
		return err
	}
	if o := a.lookStable(ctx); o.State == observe.Running && !a.guess {
		a.tryNoteGuest(o)
	}
	return nil
}

// newUtilization keeps the attributes of the resource; without Pacemaker there are none.
func newUtilization(a *run) utilization.Updater {
	u := utilization.Updater{
		Resource: a.Instance, Node: a.Node, XenAgent: a.Params.XMFile != "", Run: command.Runner(a.command).Explained,
		Notes: a.notes, Log: a.Log,
		Size: func(ctx context.Context) (libvirt.Info, error) {
			return observe.Ask(ctx, a.guest, func(conn observe.Hypervisor) (libvirt.Info, error) {
				return conn.Info(ctx, a.guest.Ref())
			})
		},
	}
	if a.Pacemaker {
		u.Attributes = a.Params.Utilization
	}
	return u
}

// services asks what a guest serves, by the parameters monitor_scripts and check_*.
type services struct {
	scripts []string
	checks  param.Checks
	run     command.Runner
	ping    func(ctx context.Context) error // asks the guest agent
	log     logrus.FieldLogger
}

// runScripts runs the scripts until one fails.
func (s services) runScripts(ctx context.Context) error {
	for _, script := range s.scripts {
		out, err := s.run(ctx, script)
		switch {
		case err == nil:
			s.log.Debugf("monitor script %q succeeded: %s", script, command.LastLine(out))
		case errors.Is(err, context.DeadlineExceeded):
			return ocf.Errorf(ocf.Generic,
				"monitor script %q timed out: %s", script, cmp.Or(command.LastLine(out), "no output"))
		default:
			return ocf.Wrapf(ocf.Generic, command.Explain(out, err), "monitor script %q failed", script)
		}
	}
	return nil
}

// runChecks asks each service until one fails. Each gets the time of check_timeout.
func (s services) runChecks(ctx context.Context) error {
	one := func(ask func(context.Context) error, format string, args ...any) error {
		ctx, cancel := context.WithTimeout(ctx, s.checks.Timeout)
		defer cancel()
		if err := ask(ctx); err != nil {
			return ocf.Wrapf(ocf.Generic, err, format, args...)
		}
		return nil
	}
	for _, address := range s.checks.TCP {
		ask := func(ctx context.Context) error { return checkTCP(ctx, address) }
		if err := one(ask, "check_tcp: %s does not accept connections", address); err != nil {
			return err
		}
	}
	for _, address := range s.checks.UDP {
		ask := func(ctx context.Context) error { return checkUDP(ctx, address) }
		if err := one(ask, "check_udp: %s does not answer", address); err != nil {
			return err
		}
	}
	if !s.checks.Agent {
		return nil
	}
	return one(s.ping, "check_agent: the guest agent does not answer")
}

func checkTCP(ctx context.Context, address string) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// resend is when a datagram that was not answered is sent again: it may have been lost.
const resend = time.Second

func checkUDP(ctx context.Context, address string) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp", address)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	buf := make([]byte, 1)
	for {
		if _, err := conn.Write([]byte("vmferry\n")); err != nil {
			return err
		}
		until := time.Now().Add(resend)
		if deadline, ok := ctx.Deadline(); ok && deadline.Before(until) {
			until = deadline
		}
		if err := conn.SetReadDeadline(until); err != nil {
			return err
		}
		_, err := conn.Read(buf)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return err
		}
	}
}
