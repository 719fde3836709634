package resource

import (
	"cmp"
	"context"
	"errors"
	"net"
	"os"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// Checks are questions to a guest's services that a monitor asks.
type Checks struct {
	TCP     []string      // check_tcp: HOST:PORT that must accept a connection
	UDP     []string      // check_udp: HOST:PORT that must answer a datagram
	Agent   bool          // check_agent: the QEMU guest agent must answer
	Timeout time.Duration // check_timeout: of each
	Grace   time.Duration // check_grace: how long a guest is left alone that was started or arrived
}

// The values of check_timeout and check_grace that are not given.
const (
	defaultCheckTimeout = 5 * time.Second
	defaultCheckGrace   = 60 * time.Second
)

func (r *reader) checks() Checks {
	return Checks{
		TCP: r.hostPorts("check_tcp"), UDP: r.hostPorts("check_udp"), Agent: r.boolean("check_agent", false),
		Timeout: r.seconds("check_timeout", defaultCheckTimeout, time.Second),
		Grace:   r.seconds("check_grace", defaultCheckGrace, 0),
	}
}

// seconds is byDefault where the parameter is unset, or cannot be used.
func (r *reader) seconds(name string, byDefault, least time.Duration) time.Duration {
	if r.get(name) == "" {
		return byDefault
	}
	before := len(r.problems)
	d := time.Duration(min(r.number(name, "seconds"), uint64(maxTimeout.Seconds()))) * time.Second
	switch {
	case len(r.problems) > before:
		return byDefault
	case d < least:
		r.bad(name, "%s=%q is too short: give whole seconds from %v on", name, r.get(name), least.Seconds())
		return byDefault
	}
	return d
}

// tend does what is due at each monitor of a guest that runs; noted tells whether it was known to
// run here before. Its error is a service's that does
// not work; all else that fails is logged.
func (a *run) tend(ctx context.Context, o observation, noted bool) error {
	if a.Probe || a.guess {
		return nil // a probe asks where the guest is, and nothing else
	}
	if a.Command == nil {
		return a.leave(ctx, o, noted)
	}
	a.saver.remove(ctx, o)
	a.saveConfig(ctx, o)
	err := a.checkServices(ctx, o)
	if a.mayUpdateUtilization(o) {
		ctx, cancel := within(ctx, utilizationTime)
		defer cancel()
		newUtilization(a).Update(ctx)
	}
	return err
}

// ErrMore is what Run returns for a monitor of an Agent without Command, where the guest runs and
// there is more to do than to look at it. The verdict is not to be used: an Agent that can
// run programs must make the whole monitor.
var ErrMore = errors.New("there is more to do than to look at the guest")

// leave returns ErrMore where tend would do something that takes programs, the network, or the
// operator's files. Of save_dir that is so once: a guest that somebody started by hand must not leave a
// saved state behind.
func (a *run) leave(ctx context.Context, o observation, noted bool) error {
	p := a.Params
	if p.SaveDir != "" && !noted || p.SaveConfig || p.Snapshot != "" || len(p.Scripts) > 0 || p.Checks.any() {
		return ErrMore
	}
	if !a.mayUpdateUtilization(o) {
		return nil
	}
	ctx, cancel := within(ctx, utilizationTime)
	defer cancel()
	if _, _, due := newUtilization(a).Due(ctx); due {
		return ErrMore
	}
	return nil
}

// mayUpdateUtilization reports whether it is time to set the guest's utilization attributes.
func (a *run) mayUpdateUtilization(o observation) bool {
	return o.libErr == nil && !a.isYoung(utilizationAge)
}

func (c Checks) any() bool { return len(c.TCP) > 0 || len(c.UDP) > 0 || c.Agent }

// settleIn ends a start and a migrate_from. As in VirtualDomain, they wait for the
// monitor scripts.
func (a *run) settleIn(ctx context.Context) error {
	a.saver.remove(ctx, observation{})
	if a.Params.SaveConfig && a.action == "migrate_from" {
		a.saveConfig(ctx, observation{})
	}
	for {
		err := a.runScripts(ctx)
		if err == nil || !pause(ctx, time.Second) {
			return err
		}
	}
}

// checkServices asks the services of a guest that somebody has not paused.
func (a *run) checkServices(ctx context.Context, o observation) error {
	if o.libErr == nil && o.status.State == libvirt.Paused {
		return nil
	}
	if err := a.runScripts(ctx); err != nil {
		return err
	}
	if a.isYoung(a.Params.Checks.Grace) {
		return nil
	}
	return a.runChecks(ctx)
}

// runScripts runs monitor_scripts until one fails.
func (a *run) runScripts(ctx context.Context) error {
	for _, script := range a.Params.Scripts {
		out, err := a.command(ctx, script)
		switch {
		case err == nil:
			a.Log.Debugf("monitor script %q succeeded: %s", script, lastLine(out))
		case errors.Is(err, context.DeadlineExceeded):
			return fail(Generic, "monitor script %q did not end in time: %s", script, cmp.Or(lastLine(out), "it said nothing"))
		default:
			return because(Generic, explain(out, err), "monitor script %q failed", script)
		}
	}
	return nil
}

// isYoung tells whether the guest was started, or arrived, less than so long ago. The note for the
// node daemon is as old as that; where it is in the future, the clock was set, and nothing is known.
func (a *run) isYoung(age time.Duration) bool {
	here, known := a.notes.Guests.Age(a.Instance)
	return known && here >= 0 && here < age
}

// runChecks makes our own checks until one fails.
func (a *run) runChecks(ctx context.Context) error {
	c := a.Params.Checks
	for _, address := range c.TCP {
		if err := a.check1(ctx, func(ctx context.Context) error { return checkTCP(ctx, address) }); err != nil {
			return because(Generic, err, "check_tcp: %s does not accept connections", address)
		}
	}
	for _, address := range c.UDP {
		if err := a.check1(ctx, func(ctx context.Context) error { return checkUDP(ctx, address) }); err != nil {
			return because(Generic, err, "check_udp: %s does not answer", address)
		}
	}
	if !c.Agent {
		return nil
	}
	if err := a.check1(ctx, a.checkAgent); err != nil {
		return because(Generic, err, "check_agent: the guest agent does not answer")
	}
	return nil
}

func (a *run) check1(ctx context.Context, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, a.Params.Checks.Timeout)
	defer cancel()
	return check(ctx)
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

// checkAgent does not blame the guest for a libvirt that cannot be asked.
func (a *run) checkAgent(ctx context.Context) error {
	conn, err := a.connect(ctx)
	if err == nil {
		err = conn.AgentPing(ctx, a.ref())
		a.dropBroken(err)
	}
	if errors.Is(err, libvirt.ErrConnect) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, libvirt.ErrNoDomain) {
		a.Log.WithError(err).Warn("check_agent could not be made, as libvirt does not answer")
		return nil
	}
	return err
}
