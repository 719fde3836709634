package script

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/migrate/wait"
	"github.com/vmferry/vmferry/resource/elsewhere"
	"github.com/vmferry/vmferry/resource/ocf"
)

// Name is what the program is called when Heartbeat calls it:
// /etc/ha.d/resource.d/vmferry.
const Name = "vmferry"

// askTime bounds the question which nodes are up, which takes about a second.
const askTime = 10 * time.Second

// Script is the resource script.
type Script struct {
	// Act does one action of the agent's with the given environment.
	Act   func(ctx context.Context, action string, environ []string) error
	Peers func(ctx context.Context) ([]elsewhere.Peer, error) // the other nodes
	// Leaving tells since when this node's own Heartbeat is being stopped, if it is.
	Leaving func(ctx context.Context) (since time.Time, leaving bool)
	// Deadtime is for how long a node that has gone may still be called active.
	Deadtime func(ctx context.Context) time.Duration
	Logger   func(environ []string, instance string) logrus.FieldLogger
	Stdout   io.Writer // read by Heartbeat: of status, "running" in it is all that counts
	Stderr   io.Writer
	RunDir   string // state that ends with the boot
}

// Run does what args say, as in "vmferry GUEST PARAM=VALUE ACTION", and returns the exit code.
func (s Script) Run(ctx context.Context, args, environ []string) ocf.ExitCode {
	call, err := parseCall(args)
	switch {
	case call.verb == "usage":
		_, _ = io.WriteString(s.Stdout, usage)
		return ocf.Success
	case err != nil:
		return s.refuse(call.verb, err)
	}
	r := &run{Script: s, call: call, environ: environ, note: newStopNote(s.RunDir, call.name), began: time.Now(),
		known: observed{Verb: call.verb, Timeout: call.timeout}}
	if call.verb == "start" {
		// A line that is wrong is an error here and nowhere else: a guest that came up before the mistake can still be
		// judged and stopped.
		if err := call.check(call.agentEnviron(environ, 0, "")); err != nil {
			return s.refuse(call.verb, err)
		}
	}
	r.log = s.Logger(call.agentEnviron(environ, 0, ""),
		call.name).WithFields(logrus.Fields{"guest": call.name, "phase": call.verb})
	return r.do(ctx)
}

// refuse is the answer to a call that cannot be understood.
func (s Script) refuse(verb string, err error) ocf.ExitCode {
	_, _ = fmt.Fprintf(s.Stderr, "%s: %v: type %s usage\n", Name, err, Name)
	switch {
	case verb == "status":
		_, _ = fmt.Fprintln(s.Stdout, "unknown")
		return lsbUnknown
	case errors.Is(err, errNoAction):
		return ocf.Unimplemented
	}
	return ocf.Args
}

// run is one call under way.
type run struct {
	Script
	call    call
	environ []string // of whoever called
	note    stopNote
	log     logrus.FieldLogger
	began   time.Time
	known   observed
}

// do takes the guest's lock and carries out the steps. A status waits for nobody.
func (r *run) do(ctx context.Context) ocf.ExitCode {
	k := &r.known
	switch k.Verb {
	case "start":
		unlock, err := lockGuest(ctx, r.RunDir, r.call.name, k.limit(startTime)/2)
		if err != nil {
			return r.fail(err)
		}
		defer unlock()
	case "stop":
		move, _ := k.split()
		unlock, err := lockGuest(ctx, r.RunDir, r.call.name, move/2)
		if err != nil { // a stop must not fail for that
			r.log.WithError(err).Warn("stopping without the lock")
		} else {
			defer unlock()
		}
		k.HasFailed, err = r.note.begin()
		r.report(err)
	default:
		k.IsStopBegun = r.note.exists()
	}
	for {
		k.Spent, k.Interrupted = time.Since(r.began), ctx.Err() != nil
		s := decide(r.known)
		r.say(s)
		if s.Do == doFinish {
			return r.finish(s)
		}
		r.carryOut(ctx, s)
	}
}

// say logs why a step is taken.
func (r *run) say(s step) {
	log := r.log
	if s.Target != "" {
		log = log.WithField("peer", s.Target)
	}
	switch {
	case s.Why == "":
	case s.Do == doAskPeers:
		log.Info(s.Why)
	case s.Cause != nil:
		log.WithError(s.Cause).Warn(s.Why)
	default:
		log.Warn(s.Why)
	}
}

// carryOut does one step and takes in what came of it.
func (r *run) carryOut(ctx context.Context, s step) {
	k := &r.known
	switch s.Do {
	case doStart:
		k.Err, k.IsDone = r.agent(ctx, "start", s), true
	case doMonitor:
		k.MonitorErr, k.IsMonitored = r.agent(ctx, "monitor", s), true
	case doAskPeers:
		if wait.For(ctx, s.After) == nil {
			k.IsSure = k.IsSure || s.After > 0
			r.ask(ctx)
		}
	case doMigrate:
		k.Tried = append(k.Tried, s.Target)
		k.TryErr = r.agent(ctx, "migrate_to", s)
		k.TriedAt = time.Since(r.began)
		log := r.log.WithField("peer", s.Target)
		if k.TryErr != nil {
			log.WithError(k.TryErr).Warn("the guest was not moved")
		} else {
			log.Info("the guest was moved")
		}
	case doStop:
		k.Err, k.IsDone = r.agent(ctx, "stop", s), true
		if k.Err != nil {
			r.report(r.note.fail())
		}
	}
}

// agent does one action of the agent's.
func (r *run) agent(ctx context.Context, action string, s step) error {
	return r.Act(ctx, action, r.call.agentEnviron(r.environ, s.Limit, s.Target))
}

// ask finds out which nodes are up, and what goes with that.
func (r *run) ask(ctx context.Context) {
	k := &r.known
	k.IsWatching = len(k.Tried) > 0
	var since time.Time
	if k.IsWatching {
		if since, k.IsLeaving = r.Leaving(ctx); k.IsLeaving {
			return
		}
	}
	k.Peers, k.PeersErr = r.active(ctx)
	first := !k.IsAsked
	k.IsAsked = true
	if first && k.PeersErr == nil {
		since, k.IsLeaving = r.Leaving(ctx)
	}
	if k.Deadtime == 0 && (k.IsLeaving || k.IsWatching) {
		k.Deadtime = r.Deadtime(ctx)
	}
	if first && k.IsLeaving {
		k.LeavingFor = time.Since(since)
	}
}

// active names the nodes that Heartbeat calls active: one at least, or it is an error.
func (r *run) active(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	peers, err := r.Peers(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot tell whether another node is up: %w", err)
	}
	up := hbplugin.Up(peers)
	if len(up) == 0 {
		return nil, errNobodyUp
	}
	return up, nil
}

// finish ends the call.
func (r *run) finish(s step) ocf.ExitCode {
	switch {
	case s.Answer != "":
		if s.Cause != nil {
			r.log.Error(s.Cause)
		}
		_, _ = fmt.Fprintln(r.Stdout, s.Answer)
		return s.Code
	case s.Err != nil:
		return r.fail(s.Err)
	}
	r.report(r.note.clear())
	return ocf.Success
}

// fail logs why and gives the code. The agent's codes mean the same in an init script.
func (r *run) fail(err error) ocf.ExitCode {
	r.log.Error(err)
	return ocf.CodeOf(err)
}

// report says that a note could not be kept. The action continues: it does more good than the note.
func (r *run) report(err error) {
	if err != nil {
		r.log.WithError(err).Error("the note about stopping is not kept: make the state directory writable")
	}
}
