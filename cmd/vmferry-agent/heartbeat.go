package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/hbplugin/heartbeat"
	"github.com/vmferry/vmferry/hbplugin/logind"
	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/resource"
	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/ocf"
	"github.com/vmferry/vmferry/resource/ocflog"
)

// heartbeatName is what this program is called when Heartbeat calls it:
// /etc/ha.d/resource.d/vmferry.
const heartbeatName = "vmferry"

// The exit codes in which an init script differs from an OCF agent (LSB 5.0, "Init Script
// Actions"). Heartbeat heeds that of start and stop; of status it heeds the output alone.
const (
	lsbStopped ocf.ExitCode = 3 // of status
	lsbUnknown ocf.ExitCode = 4 // of status
)

// What an action may take where the line in haresources sets no timeout. Heartbeat itself
// waits for ever.
const (
	heartbeatStart  = 90 * time.Second
	heartbeatStatus = 30 * time.Second
	heartbeatMove   = 120 * time.Second
	heartbeatStop   = 90 * time.Second
	// heartbeatAsk bounds the question which nodes are up, which takes about a second.
	heartbeatAsk = 10 * time.Second
	// heartbeatDeadtime is Heartbeat's default (ha.cf), and heartbeatBeat a margin above it.
	heartbeatDeadtime = 30 * time.Second
	heartbeatBeat     = time.Second
	// heartbeatLeast is what a move needs to have a chance.
	heartbeatLeast = 3 * time.Second
)

var errNobodyUp = errors.New("no other node is up")

// heartbeatUnit is Heartbeat's unit of systemd's.
const heartbeatUnit = "heartbeat.service"

// peersFunc lists the other nodes of the cluster.
type peersFunc func(context.Context) ([]resource.Peer, error)

// heartbeatFace is the program as a resource script of Heartbeat's. It has no knowledge of
// guests of its own: each action is one or two of the resource agent's.
type heartbeatFace struct {
	// act does one action of the agent's with the given environment.
	act   func(ctx context.Context, action string, environ []string) error
	peers peersFunc // those that are up, to move to
	// leaving tells since when this node's own Heartbeat is being stopped, if it is.
	leaving func(ctx context.Context) (since time.Time, leaving bool)
	// deadtime is for how long a node that has gone may still be called active.
	deadtime func(ctx context.Context) time.Duration
	logger   func(environ []string, instance string) logrus.FieldLogger
	stdout   io.Writer // read by Heartbeat: of status, "running" in it is all that counts
	stderr   io.Writer
	runDir   string // state that ends with the boot
}

// heartbeatRun is one call.
type heartbeatRun struct {
	heartbeatFace
	call    heartbeatCall
	environ []string // of whoever called
	note    stopNote
	tried   bool // to move the guest to a node that was up
	log     logrus.FieldLogger
}

// runForHeartbeat is run for the program under the name of Heartbeat's resource script.
func runForHeartbeat(ctx context.Context, args, environ []string, stdout, stderr io.Writer) ocf.ExitCode {
	manager := &heartbeat.Client{}
	f := heartbeatFace{
		act: func(ctx context.Context, action string, environ []string) error {
			return act(ctx, action, environ, stderr, caller{peers: manager.Nodes, leaving: always, fetch: true})
		},
		peers:    manager.Peers,
		leaving:  isLeaving,
		deadtime: func(ctx context.Context) time.Duration { return deadtimeOf(ctx, manager) },
		logger: func(environ []string, instance string) logrus.FieldLogger {
			return ocflog.New(ocflog.Call{Environ: environ, Instance: instance, PID: os.Getpid()}, stderr)
		},
		stdout: stdout, stderr: stderr,
		runDir: ocf.Variable(environ, "VMFERRY_RUN_DIR", notes.DefaultRunDir),
	}
	return f.run(ctx, args, environ)
}

// always is the answer whether Heartbeat empties this node: it stops a guest for no other reason.
func always(context.Context) (bool, error) { return true, nil }

// run does what args say, as in "vmferry GUEST PARAM=VALUE ACTION", and returns the exit code.
func (f heartbeatFace) run(ctx context.Context, args, environ []string) ocf.ExitCode {
	call, err := parseHeartbeatCall(args)
	switch {
	case call.action == "usage":
		_, _ = io.WriteString(f.stdout, heartbeatUsage)
		return ocf.Success
	case err != nil:
		return f.refuse(call.action, err)
	}
	r := &heartbeatRun{heartbeatFace: f, call: call, environ: environ, note: newStopNote(f.runDir, call.name)}
	r.log = f.logger(r.agentEnviron(0, ""), call.name).WithFields(logrus.Fields{"guest": call.name, "phase": call.action})
	switch call.action {
	case "start":
		return r.start(ctx)
	case "stop":
		return r.stop(ctx)
	}
	return r.status(ctx)
}

// refuse is the answer to a call that cannot be understood.
func (f heartbeatFace) refuse(action string, err error) ocf.ExitCode {
	_, _ = fmt.Fprintf(f.stderr, "%s: %v; see %s usage\n", heartbeatName, err, heartbeatName)
	switch {
	case action == "status":
		return f.say("unknown", lsbUnknown)
	case errors.Is(err, errNoAction):
		return ocf.Unimplemented
	}
	return ocf.Args
}

func (f heartbeatFace) say(answer string, code ocf.ExitCode) ocf.ExitCode {
	_, _ = fmt.Fprintln(f.stdout, answer)
	return code
}

// agent does one action of the agent's within limit; target is for migrate_to.
func (r *heartbeatRun) agent(ctx context.Context, action string, limit time.Duration, target string) error {
	return r.act(ctx, action, r.agentEnviron(limit, target))
}

// start starts the guest or finds it running, as after a migration to here. A line that is
// wrong is an error here and nowhere else: a guest that came up before the mistake can still
// be judged and stopped.
func (r *heartbeatRun) start(ctx context.Context) ocf.ExitCode {
	if err := r.call.check(r.agentEnviron(0, "")); err != nil {
		return r.refuse(r.call.action, err)
	}
	began, limit := time.Now(), r.call.limit(heartbeatStart)
	unlock, err := lockGuest(ctx, r.runDir, r.call.name, limit/2)
	if err != nil {
		return r.fail(err)
	}
	defer unlock()
	if err := r.agent(ctx, "start", limit-time.Since(began), ""); err != nil {
		return r.fail(err)
	}
	r.clearNote()
	return ocf.Success
}

// status tells whether the guest runs here. Heartbeat takes all but "running" for stopped,
// and asks at two times. Before a start, a guest of which nothing is known must not
// be called running, or nobody would start it; the start itself wants proof. After a stop that
// failed it must: else Heartbeat starts it on the other node as well, and does
// not reboot this one.
func (r *heartbeatRun) status(ctx context.Context) ocf.ExitCode {
	err := r.agent(ctx, "monitor", r.call.limit(heartbeatStatus), "")
	switch {
	case err == nil:
		return r.say("running", ocf.Success)
	case ocf.CodeOf(err) == ocf.NotRunning:
		return r.say("stopped", lsbStopped)
	}
	r.log.Error(err)
	if r.note.exists() {
		return r.say("running (a stop was begun and its success is not proven)", lsbUnknown)
	}
	return r.say("unknown", lsbUnknown)
}

// stop moves the guest to the other node while that is up, and shuts it down where it cannot be
// moved. Heartbeat then starts it on the other node, where it is found running in the
// first case. After a stop that failed no time is spent on moving it: Heartbeat
// asks ten times more, and then reboots the node.
func (r *heartbeatRun) stop(ctx context.Context) ocf.ExitCode {
	began := time.Now()
	move, end := r.call.split()
	unlock, err := lockGuest(ctx, r.runDir, r.call.name, move/2)
	if err != nil { // a stop must not fail for that
		r.log.WithError(err).Warn("stopping all the same")
	} else {
		defer unlock()
	}
	failed := r.beginNote()
	err = r.agent(ctx, "monitor", min(heartbeatStatus, move/2), "")
	if err == nil && !failed && (r.moved(ctx, move, began) || r.cancelled(ctx, move, began)) {
		r.clearNote()
		return ocf.Success
	}
	if ctx.Err() != nil {
		return r.fail(fmt.Errorf("stopping guest %q was interrupted", r.call.name))
	}
	if r.call.timeout > 0 {
		end = r.call.timeout - time.Since(began)
	}
	if err := r.agent(ctx, "stop", end, ""); err != nil {
		r.failNote()
		return r.fail(err)
	}
	r.clearNote()
	return ocf.Success
}

// moved migrates a guest that runs here, within what limit leaves from began on, and tells
// whether it is proven to run on another node. To a node on which Heartbeat does not run
// nothing is moved: nobody there would care for it. Where one refuses the guest, or dies in the middle, the
// next is tried; Heartbeat's start brings the guest from there to where it belongs.
func (r *heartbeatRun) moved(ctx context.Context, limit time.Duration, began time.Time) bool {
	peers, err := r.willing(ctx, limit)
	if err != nil {
		r.log.WithError(err).Warn("the guest is not moved but shut down")
		return false
	}
	for _, peer := range peers {
		left := limit - time.Since(began)
		if left < heartbeatLeast {
			break
		}
		log := r.log.WithField("peer", peer)
		r.tried = true
		err := r.agent(ctx, "migrate_to", left, peer)
		if err == nil {
			log.Info("the guest was moved")
			return true
		}
		log.WithError(err).Warn("the guest was not moved")
		if !migrate.MayTryNext(err) {
			break
		}
	}
	return false
}

// cancelled tells whether the standby that asked for the stop is void: the other node died while
// the guest was to move there. Heartbeat then goes on as if this node had given nothing
// up, and starts nothing again, so that the guest must stay. Where Heartbeat itself is being
// stopped here, nobody stays to care for it.
func (r *heartbeatRun) cancelled(ctx context.Context, limit time.Duration, began time.Time) bool {
	if _, leaving := r.leaving(ctx); leaving || !r.tried {
		return false
	}
	deadline := time.Now().Add(min(r.deadtime(ctx), limit-time.Since(began)))
	for {
		_, err := r.active(ctx)
		switch {
		case errors.Is(err, errNobodyUp):
			r.log.Warn("the other node has died, which makes the standby void: the guest stays")
			return true
		case err != nil, !time.Now().Before(deadline):
			return false
		}
		select {
		case <-time.After(heartbeatBeat):
		case <-ctx.Done():
			return false
		}
	}
}

// isLeaving asks systemd whether Heartbeat is being stopped on this node. Where nobody can tell,
// it is not: that is so where Heartbeat is no unit of systemd's.
func isLeaving(ctx context.Context) (since time.Time, leaving bool) {
	ctx, cancel := context.WithTimeout(ctx, heartbeatAsk)
	defer cancel()
	since, leaving, err := logind.System{}.Deactivating(ctx, heartbeatUnit)
	return since, err == nil && leaving
}

func deadtimeOf(ctx context.Context, manager *heartbeat.Client) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, heartbeatAsk)
	defer cancel()
	dead, err := manager.Deadtime(ctx)
	if err != nil {
		dead = heartbeatDeadtime
	}
	return dead + heartbeatBeat
}

// willing names the nodes to move to. When both nodes go down at once, the other one has often
// left already and is called active for the deadtime still; a guest that was moved there
// would die with it. So a node that goes down itself waits until it can know. A standby or
// a failback need not wait: there the other node has just agreed.
func (r *heartbeatRun) willing(ctx context.Context, limit time.Duration) ([]string, error) {
	peers, err := r.active(ctx)
	if err != nil {
		return nil, err
	}
	since, leaving := r.leaving(ctx)
	if !leaving {
		return peers, nil
	}
	wait := r.deadtime(ctx) - time.Since(since)
	if wait <= 0 {
		return peers, nil
	}
	r.log.WithField("peer", peers[0]).Infof("this node's Heartbeat is leaving: waiting %s to be sure that the other one stays", wait.Round(time.Second/10))
	select {
	case <-time.After(min(wait, limit/2)):
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	return r.active(ctx)
}

// active names the nodes that Heartbeat calls active: one at least, or it is an error.
func (r *heartbeatRun) active(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, heartbeatAsk)
	defer cancel()
	peers, err := r.peers(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot tell whether another node is up: %w", err)
	}
	var up []string
	for _, p := range peers {
		if p.State == resource.PeerUp {
			up = append(up, p.Name)
		}
	}
	if len(up) == 0 {
		return nil, errNobodyUp
	}
	return up, nil
}

// fail logs why and gives the code. The agent's codes mean the same in an init script.
func (r *heartbeatRun) fail(err error) ocf.ExitCode {
	r.log.Error(err)
	return ocf.CodeOf(err)
}

func (r *heartbeatRun) beginNote() (failed bool) {
	failed, err := r.note.begin()
	r.report(err)
	return failed
}

func (r *heartbeatRun) failNote()  { r.report(r.note.fail()) }
func (r *heartbeatRun) clearNote() { r.report(r.note.clear()) }

// report says that a note could not be kept. The action goes on: it does more good than the note.
func (r *heartbeatRun) report(err error) {
	if err != nil {
		r.log.WithError(err).Error("the note about stopping is not kept: make the state directory writable")
	}
}
