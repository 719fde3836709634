package script

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/resource/ocf"
)

// The exit codes in which an init script differs from an OCF agent (LSB 5.0, "Init Script
// Actions"). Heartbeat heeds that of start and stop; of status it heeds the output alone.
const (
	lsbStopped ocf.ExitCode = 3 // of status
	lsbUnknown ocf.ExitCode = 4 // of status
)

// What an action may take where the line in haresources sets no timeout. Heartbeat itself
// waits for ever.
const (
	startTime  = 90 * time.Second
	statusTime = 30 * time.Second
	moveTime   = 120 * time.Second
	stopTime   = 90 * time.Second
	// leastMove is what a move needs to have a chance.
	leastMove = 3 * time.Second
	// beat is the time from one question who is up to the next.
	beat = time.Second
)

var errNobodyUp = errors.New("no other node is up")

// observed is all that decide looks at.
type observed struct {
	Verb        string        // start, stop or status
	Timeout     time.Duration // of the line in haresources, 0 for none
	Spent       time.Duration // since the call began
	Interrupted bool

	IsStopBegun bool // an earlier stop was begun, and its success is not proven
	HasFailed   bool // an earlier stop has failed
	IsDone      bool // the agent's start or stop has ended
	Err         error
	IsMonitored bool // the agent's monitor has ended
	MonitorErr  error

	IsAsked  bool     // it was asked which nodes are up
	Peers    []string // those that are; one at least, or PeersErr says why not
	PeersErr error

	IsLeaving  bool          // this node's own Heartbeat is being stopped
	LeavingFor time.Duration // since when
	Deadtime   time.Duration // for how long a node that has gone may still be called active
	IsSure     bool          // that was waited for

	Tried      []string      // the nodes to which it was tried to move the guest
	TryErr     error         // how the last try ended
	TriedAt    time.Duration // when, in Spent's terms
	IsWatching bool          // Peers and IsLeaving are newer than the last try
}

// action is what is to be done next.
type action int

// The steps.
const (
	doStart action = iota
	doMonitor
	doAskPeers // which nodes are up
	doMigrate
	doStop
	doFinish // with Err, or with Answer and Code
)

// step is one step.
type step struct {
	Do     action
	Limit  time.Duration // for the agent's action
	After  time.Duration // wait that long before
	Target string        // of Migrate
	Why    string        // for the log; empty for nothing
	Cause  error         // beside Why
	Err    error
	Answer string // on stdout, of status
	Code   ocf.ExitCode
}

// decide is the next step of a call.
func decide(k observed) step {
	switch k.Verb {
	case "start":
		if !k.IsDone {
			return step{Do: doStart, Limit: k.limit(startTime) - k.Spent}
		}
		return step{Do: doFinish, Err: k.Err}
	case "status":
		if !k.IsMonitored {
			return step{Do: doMonitor, Limit: k.limit(statusTime)}
		}
		return status(k)
	}
	return stop(k)
}

// status reports whether the guest runs here. Heartbeat takes all but "running" for stopped,
// and asks at two times. Before a start, a guest of which nothing is known must not
// be called running, or nobody would start it; the start itself wants proof. After a stop that
// failed it must: else Heartbeat starts it on the other node as well, and does
// not reboot this one.
func status(k observed) step {
	s := step{Do: doFinish, Answer: "unknown", Code: lsbUnknown, Cause: k.MonitorErr}
	switch {
	case k.MonitorErr == nil:
		s.Answer, s.Code = "running", ocf.Success
	case ocf.CodeOf(k.MonitorErr) == ocf.NotRunning:
		s.Answer, s.Code, s.Cause = "stopped", lsbStopped, nil
	case k.IsStopBegun:
		s.Answer = "running (a stop was begun and its success is not proven)"
	}
	return s
}

// stop moves the guest to another node while one is up, and shuts it down where it cannot be moved. After a stop that
// failed no time is spent on moving it: Heartbeat asks ten times more, and then reboots the node.
func stop(k observed) step {
	move, end := k.split()
	s := step{Do: doStop, Limit: end}
	switch {
	case k.IsDone:
		return step{Do: doFinish, Err: k.Err}
	case !k.IsMonitored:
		return step{Do: doMonitor, Limit: min(statusTime, move/2)}
	case k.MonitorErr == nil && !k.HasFailed:
		s = leave(k, move, s)
	}
	switch {
	case s.Do == doFinish:
	case k.Interrupted:
		return step{Do: doFinish, Err: errors.New("the stop was interrupted")}
	case s.Do == doStop && k.Timeout > 0:
		s.Limit = k.Timeout - k.Spent
	}
	return s
}

// leave takes a guest that runs here to another node, within move. To a node on which Heartbeat does not run
// nothing is moved: nobody there would care for it. Where one refuses the guest, or dies in the middle, the
// next is tried; Heartbeat's start brings the guest from there to where it belongs.
func leave(k observed, move time.Duration, shutdown step) step {
	tried := len(k.Tried)
	switch {
	case tried > 0 && k.TryErr == nil:
		return step{Do: doFinish}
	case tried == 0 && !k.IsAsked:
		return step{Do: doAskPeers}
	case tried == 0 && k.PeersErr != nil:
		shutdown.Why, shutdown.Cause = "the guest is not moved but shut down", k.PeersErr
		return shutdown
	case tried == 0 && k.IsLeaving && !k.IsSure && k.Deadtime > k.LeavingFor:
		wait := k.Deadtime - k.LeavingFor
		return step{Do: doAskPeers, After: min(wait, move/2), Target: k.Peers[0], Why: fmt.Sprintf(
			"this node's Heartbeat is leaving: waiting %s to be sure that the other one stays",
			wait.Round(time.Second/10))}
	}
	untried := func(node string) bool { return !slices.Contains(k.Tried, node) }
	mayTry := tried == 0 || migrate.MayTryNext(k.TryErr) && !k.IsWatching
	if i := slices.IndexFunc(k.Peers, untried); i >= 0 && mayTry && move-k.Spent >= leastMove {
		return step{Do: doMigrate, Limit: move - k.Spent, Target: k.Peers[i]}
	}
	if tried == 0 {
		return shutdown
	}
	return watch(k, move, shutdown)
}

// watch finds out whether the standby that caused the stop is void: the other node died while
// the guest was to move there. Heartbeat then continues as if this node had given nothing
// up, and starts nothing again, so that the guest must stay. Where Heartbeat itself is being
// stopped here, nobody stays to care for it.
func watch(k observed, move time.Duration, shutdown step) step {
	switch {
	case !k.IsWatching:
		return step{Do: doAskPeers}
	case k.IsLeaving:
		return shutdown
	case errors.Is(k.PeersErr, errNobodyUp):
		return step{Do: doFinish, Why: "the other node is dead, which cancels the standby: the guest stays"}
	case k.PeersErr != nil, k.Spent >= k.TriedAt+min(k.Deadtime, move-k.TriedAt):
		return shutdown
	}
	return step{Do: doAskPeers, After: beat}
}

// limit is the time of an action that usually gets d.
func (k observed) limit(d time.Duration) time.Duration {
	return cmp.Or(k.Timeout, d)
}

// split divides the time of a stop between moving the guest and shutting it down. A
// timeout that is longer than usual lengthens the move, a shorter one shortens both alike.
func (k observed) split() (move, end time.Duration) {
	if k.Timeout <= 0 {
		return moveTime, stopTime
	}
	end = min(stopTime, k.Timeout*3/7) // as 90 s are of 210 s
	return k.Timeout - end, end
}
