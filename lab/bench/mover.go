package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/lab/guest"
	"github.com/vmferry/vmferry/lab/report"
	"github.com/vmferry/vmferry/lab/scenario"
	"github.com/vmferry/vmferry/migrate/wait"
)

const (
	// moveTime is the window of a move that should take seconds.
	moveTime = 120 * time.Second
	// guestTime bounds how long it may take until one copy of a guest is left and answers.
	guestTime = 45 * time.Second
	// before and after are how long clients probe around a move: to see what is normal,
	// and an echo of the outage.
	before, after = 2 * time.Second, 1500 * time.Millisecond
	// eventTime bounds how long QEMU's events may take from the guest's answer until they are here.
	eventTime = 10 * time.Second
	// looksGone is after how many looks, each half a second after the last, a guest that has no
	// process is held to be shut down.
	looksGone = 4
	// timedOut is what timeout(1) exits with when it had to end the program.
	timedOut = 124
)

// How a move ended.
const (
	endedLive      = "live"
	endedRestarted = "restarted"
	endedFailed    = "failed, stayed"
	endedCutOff    = "out of time, stayed"
)

// side is one of the two that have their turns.
type side struct {
	ours   bool // the one that is to be compared, not the one with which it is
	label  string
	path   string
	agent  cluster.Agent
	daemon bool // vmferryd is there to help
	bare   bool // no move: the emulator's own part, measured at a guest that nobody moves
}

// sides are both.
var sides = []side{
	{ours: true, label: report.Ours, path: oursPath, agent: cluster.Ours, daemon: true},
	{label: report.Peer, path: peerPath, agent: cluster.VirtualDomain},
}

// turns calls do for both of the sides n times. Who goes first changes with each round, so that
// moves there and back are dealt out evenly too. Where warm is set there is one
// round more, the first, numbered -1, which is not to be counted.
func turns(sides []side, n int, warm bool, do func(round int, who side) error) error {
	order, first := slices.Clone(sides), 0
	if warm {
		first = -1
	}
	for round := first; round < n; round++ {
		for _, who := range order {
			if err := do(round, who); err != nil {
				return err
			}
		}
		slices.Reverse(order)
	}
	return nil
}

// move is what became of one move. Of one that did not end live only Took and Ended count.
type move struct {
	Ended string
	Took  float64 // milliseconds that migrate_to took
	Pause float64 // milliseconds from STOP to RESUME
	// Kernel's and the light service's gaps in milliseconds, and the longest wait of a client that asks again only
	// when it was answered; all nil without a probe.
	ICMP, Acks        *float64
	UDP, TCP, Request *float64
	Game              *float64 // the same of a game server's own client
	Work              *work    // nil where it was not measured

	stop, resume time.Time
}

// moves are those of both sides.
type moves struct{ ours, peer []move }

func (m *moves) add(who side, one move) {
	if who.ours {
		m.ours = append(m.ours, one)
	} else {
		m.peer = append(m.peer, one)
	}
}

// result compares a figure of the moves that ended live, and says how all ended.
func (m moves) result(name, unit string, of func(move) float64) Result {
	r := compare(name, unit, report.Peer, live(m.ours, of), live(m.peer, of))
	r.OursEnded, r.PeerEnded = endings(m.ours), endings(m.peer)
	return r
}

func live(all []move, of func(move) float64) []float64 {
	var values []float64
	for _, m := range all {
		if value := of(m); m.Ended == endedLive && !math.IsNaN(value) {
			values = append(values, value)
		}
	}
	return values
}

// What of a move is compared, in milliseconds unless it says otherwise; not a number where it was not measured.
func pauseOf(m move) float64   { return m.Pause }
func icmpOf(m move) float64    { return known(m.ICMP) }
func acksOf(m move) float64    { return known(m.Acks) }
func udpOf(m move) float64     { return known(m.UDP) }
func tcpOf(m move) float64     { return known(m.TCP) }
func requestOf(m move) float64 { return known(m.Request) }
func gameOf(m move) float64    { return known(m.Game) }

func known(value *float64) float64 {
	if value == nil {
		return math.NaN()
	}
	return *value
}

func endings(all []move) Endings {
	e := Endings{}
	for _, m := range all {
		e[m.Ended]++
	}
	return e
}

// mover moves one guest between the two nodes, as Pacemaker has the agents do it.
type mover struct {
	stage  *Stage
	runner *scenario.Runner
	sides  []side
	guest  scenario.Guest
	params []string      // more of both agents' parameters, such as migration_speed=20
	ours   []string      // more of ours
	peers  []string      // more of the peer's
	window time.Duration // for migrate_to
	probe  bool          // clients probe at every move
	game   bool          // so does the client of the guest's game server
	weigh  bool          // processor time is measured at every move
	// pace is between two probes while a side moves the guest; nil is moveInterval.
	pace func(side) time.Duration
	at   int // which node the guest is on
	// metering is the processor time that the measuring of it took, in milliseconds a second, at each move.
	metering []float64
}

func (s *Stage) mover(g scenario.Guest, params ...string) (*mover, error) {
	r, err := s.runner([]scenario.Guest{g}, moveInterval)
	return &mover{stage: s, runner: r, sides: sides, guest: g, params: params, window: moveTime}, err
}

// runner watches guests, and probes them where it is asked to.
func (s *Stage) runner(guests []scenario.Guest, interval time.Duration) (*scenario.Runner, error) {
	scratch := filepath.Join(s.Shared, "probes")
	if err := os.MkdirAll(scratch, 0o700); err != nil {
		return nil, err
	}
	return &scenario.Runner{
		Cluster: s.Cluster, Guests: guests, Interval: interval, Progress: s.Progress,
		Blackout: s.Blackout, Scratch: scratch,
	}, nil
}

// run starts the guest on the first node, calls body, and stops it wherever it is.
func (m *mover) run(ctx context.Context, body func(context.Context) error) error {
	return m.runner.Run(ctx, func(ctx context.Context) (err error) {
		defer func() { err = errors.Join(err, m.stopAll(context.WithoutCancel(ctx))) }()
		if err := m.serve(ctx, true); err != nil {
			return err
		}
		m.stage.Progress("starting the guest " + m.guest.Name)
		if err := m.stage.agent(ctx, m.guest, m.nodes()[m.at], "start"); err != nil {
			return err
		}
		if err := m.stage.awaitGuest(ctx, m.guest.Address); err != nil {
			return err
		}
		if m.game {
			if err := m.awaitGame(ctx); err != nil {
				return err
			}
		}
		return body(ctx)
	})
}

func (m *mover) nodes() []string { return m.stage.Cluster.Nodes }

// stopAll stops the guest on both nodes, and leaves vmferryd running.
func (m *mover) stopAll(ctx context.Context) error {
	m.stage.Progress("stopping the guest " + m.guest.Name)
	errs := []error{m.serve(ctx, true)}
	for _, node := range m.nodes() {
		errs = append(errs, m.stage.agent(ctx, m.guest, node, "stop"))
	}
	return errors.Join(errs...)
}

// serve starts or stops vmferryd on both nodes: the peer is to be neither hampered nor
// helped by it.
func (m *mover) serve(ctx context.Context, ours bool) error {
	verb := "stop"
	if ours {
		verb = "start"
	}
	for _, node := range m.nodes() {
		if _, err := m.stage.Cluster.Run(ctx, node, "systemctl", verb, "vmferryd.service"); err != nil {
			return err
		}
	}
	return nil
}

// shuttle has both sides move the guest n times each.
func (m *mover) shuttle(ctx context.Context, name string, n int, warm bool) (moves, error) {
	var all moves
	err := m.run(ctx, func(ctx context.Context) error {
		return turns(m.sides, n, warm, func(round int, who side) error {
			m.stage.Progress(fmt.Sprintf("%s: round %d of %d, %s", name, round+1, n, who.label))
			one, err := m.move(ctx, who)
			if err == nil && round >= 0 {
				all.add(who, one)
			}
			return err
		})
	})
	return all, err
}

// move moves the guest to the other node. That it did not move is a result; an error means
// that nothing could be measured, or that the guest is lost.
func (m *mover) move(ctx context.Context, who side) (move, error) {
	if err := m.serve(ctx, who.daemon); err != nil {
		return move{}, err
	}
	was, err := ask(ctx, m.guest.Address)
	if err != nil {
		return move{}, err
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	m.runner.Interval = m.interval(who)
	see, err := m.watch(watching)
	if err != nil {
		return move{}, err
	}
	if err := wait.For(ctx, before); err != nil {
		return move{}, err
	}
	one, err := m.hand(ctx, who, was)
	if err != nil {
		return move{}, err
	}
	if err := wait.For(ctx, after); err != nil {
		return move{}, err
	}
	stop()
	return one, see(&one)
}

// hand makes the agent's calls for one move, and sees where the guest is then.
func (m *mover) hand(ctx context.Context, who side, was guest.Status) (move, error) {
	from, to := m.nodes()[m.at], m.nodes()[1-m.at]
	begun := time.Now()
	failed := m.call(ctx, who, from, "migrate_to", from, to, m.window)
	one := move{Took: ms(time.Since(begun))}
	if ctx.Err() != nil {
		return one, ctx.Err()
	}
	if failed == nil {
		for _, c := range []struct{ node, action string }{{to, "migrate_from"}, {from, "stop"}} {
			if err := m.call(ctx, who, c.node, c.action, from, to, agentTime); err != nil {
				return one, err
			}
		}
	} else {
		m.stage.Progress(fmt.Sprintf("%s did not move the guest: %v", who.label, failed))
		// The job may have outlived its client; mostly there is none.
		_, _ = m.stage.Cluster.Run(ctx, from, "virsh", "--connect=qemu:///system", "domjobabort", m.guest.Name)
	}
	where, now, err := m.awaitGuest(ctx, who, from, to)
	if err != nil {
		return one, errors.Join(err, failed)
	}
	m.at = slices.Index(m.nodes(), where)
	one.Ended = ending(where == to, now.BootID == was.BootID, exitCode(failed))
	if one.Ended == endedLive {
		one.stop, one.resume, err = m.switchover(ctx, from, to, begun)
		one.Pause = ms(one.resume.Sub(one.stop))
	}
	return one, err
}

// switchover waits for QEMU's STOP and RESUME, which pass through libvirt and a process: the last of them
// may be on its way.
func (m *mover) switchover(ctx context.Context, from, to string, since time.Time) (stop, resume time.Time, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, eventTime, errors.New("they were not seen"))
	defer cancel()
	err = cluster.Await(ctx, "STOP and RESUME of guest "+m.guest.Name, func(context.Context) (ok bool, err error) {
		stop, resume, ok = m.runner.Switchover(m.guest.Name, from, to, since)
		return ok, nil
	})
	return stop, resume, err
}

// ending tells in a word how a move ended; code is what migrate_to exited with.
func ending(moved, sameBoot bool, code int) string {
	switch {
	case !sameBoot:
		return endedRestarted
	case moved:
		return endedLive
	case code == timedOut:
		return endedCutOff
	}
	return endedFailed
}

func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	return -1
}

// call makes one call of an agent for a move between two nodes. It is ended, with all of its
// children, when its time is over, as Pacemaker would.
func (m *mover) call(ctx context.Context, who side, node, action, from, to string, limit time.Duration) error {
	own := m.peers
	if who.ours {
		own = m.ours
	}
	params := append(slices.Concat(m.params, own), "CRM_meta_migrate_source="+from, "CRM_meta_migrate_target="+to)
	launcher := []string{"timeout", "--kill-after=5", fmt.Sprintf("%.3f", limit.Seconds()), "env"}
	launcher = append(launcher, environ(m.guest, node, action, limit, params...)...)
	launcher = append(launcher, names(who.path)...)
	return m.stage.runAgent(ctx, node, launcher, who.path, action)
}

// awaitGuest waits until the guest has one copy and answers. One that runs nowhere is started at the target, once,
// as Pacemaker would: it was shut down there to be started here.
func (m *mover) awaitGuest(ctx context.Context, who side, from, to string) (where string, now guest.Status, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, guestTime+agentTime, errors.New("it is lost"))
	defer cancel()
	looks := 0
	err = cluster.Await(ctx, fmt.Sprintf("guest %q to answer", m.guest.Name), func(ctx context.Context) (bool, error) {
		on := m.runner.Where(m.guest.Name)
		if looks++; len(on) == 0 && looks == looksGone {
			return false, m.call(ctx, who, to, "start", from, to, agentTime)
		}
		if len(on) != 1 {
			return false, fmt.Errorf("it runs on %v", on)
		}
		where = on[0]
		now, err = ask(ctx, m.guest.Address)
		return err == nil, err
	})
	return where, now, err
}
