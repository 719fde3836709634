package resource

import (
	"context"
	"errors"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/wait"
	"github.com/vmferry/vmferry/resource/observe"
	"github.com/vmferry/vmferry/resource/timely"
)

// tend does what is due at each monitor of a guest that runs; noted says that it was known to run here before. Its
// error is that a service does not work; all else that fails is logged.
func (a *run) tend(ctx context.Context, o observe.Observation, noted bool) error {
	if a.Probe || a.guess {
		return nil // a probe asks where the guest is, and nothing else
	}
	if a.Command == nil {
		return a.needsPrograms(ctx, o, noted)
	}
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

// needsPrograms returns ErrMore where tend would do something that takes programs, the network, or the operator's
// files. Of save_dir that is so once: a guest that somebody started by hand must not leave a saved state behind.
func (a *run) needsPrograms(ctx context.Context, o observe.Observation, noted bool) error {
	p := a.Params
	if p.SaveDir != "" && !noted || p.SaveConfig || p.Snapshot != "" || len(p.Scripts) > 0 || p.Checks.Any() {
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

// settleIn ends a start and a migrate_from. As in VirtualDomain, they wait for the monitor scripts.
func (a *run) settleIn(ctx context.Context) error {
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
