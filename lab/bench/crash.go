package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/vmferry/vmferry/hbplugin/ring"
	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/lab/guest"
	"github.com/vmferry/vmferry/lab/report"
	"github.com/vmferry/vmferry/lab/scenario"
	"github.com/vmferry/vmferry/lab/supervisor"
	"github.com/vmferry/vmferry/migrate/wait"
)

const (
	// crashPace is between two probes of one target: next to the seconds of a crash it is nothing, and it costs the
	// guest that boots next to nothing.
	crashPace = 20 * time.Millisecond
	// crashTime bounds the time from the kill to the guest's answer.
	crashTime = 2 * time.Minute
)

// crashSide is one that has its turns: an agent, and how long Corosync waits for consensus.
type crashSide struct {
	side
	consensus time.Duration // 0 for Corosync's default
	seen      crashes
}

func (c crashSide) String() string {
	if c.consensus == 0 {
		return c.label
	}
	return fmt.Sprintf("%s with consensus %s", c.label, c.consensus)
}

// crash measures how long a client waits for a guest whose node is killed. The fence device is the same for all. In
// crash-to-answer the cluster's configuration is the same, too; in crash-to-answer-advised ours has the consensus that
// `vmferry check` advises for it, and the peer Corosync's default.
func crash(ctx context.Context, s *Stage) ([]Result, error) {
	r, err := s.runner([]scenario.Guest{s.Guest}, crashPace)
	if err != nil {
		return nil, err
	}
	var detection ring.Detection
	ours, peer, advised := &crashSide{side: sides[0]}, &crashSide{side: sides[1]}, &crashSide{side: sides[0]}
	err = r.Run(ctx, func(ctx context.Context) (err error) {
		if err := r.Take(ctx); err != nil {
			return err
		}
		if err := s.setConsensus(ctx, 0); err != nil { // what a run that broke off has left
			return err
		}
		if detection, err = s.detection(ctx); err != nil {
			return err
		}
		var short bool
		if advised.consensus, short = detection.ShortConsensus(); !short {
			return fmt.Errorf("vmferry check advises nothing to a cluster of %d nodes with consensus %s",
				detection.Nodes, detection.Consensus)
		}
		defer func() { err = errors.Join(err, s.setConsensus(context.WithoutCancel(ctx), 0)) }()
		return s.crashTurns(ctx, r, []*crashSide{ours, peer, advised})
	})
	if err != nil {
		return nil, err
	}
	return crashResults(detection, *ours, *peer, *advised), nil
}

// crashTurns lets the sides have their turns, and who goes first changes with each round.
func (s *Stage) crashTurns(ctx context.Context, r *scenario.Runner, order []*crashSide) error {
	for round := range s.N {
		for _, who := range order {
			s.Progress(fmt.Sprintf("crash-to-answer: round %d of %d, %s", round+1, s.N, who))
			one, err := s.crashOnce(ctx, r, who)
			if err != nil {
				return err
			}
			who.seen = append(who.seen, one)
		}
		slices.Reverse(order)
	}
	return nil
}

// crashResults compares the sides.
func crashResults(d ring.Detection, ours, peer, advised crashSide) []Result {
	until := func(name string, who crashSide, i instant, notes ...string) Result {
		r := compare(name, "s", report.Peer, who.seen.until(i), peer.seen.until(i))
		r.Notes = notes
		return r
	}
	both := fmt.Sprintf("from the kill of the node to the light service's first answer over UDP, one guest; "+
		"both sides with token %s and consensus %s", d.Token, d.Consensus)
	other := fmt.Sprintf("the same, ours with the consensus that vmferry check advises, %s: "+
		"the difference is Corosync's, and %s's guests would gain as much by it", advised.consensus, report.Peer)
	withNotes := func(first string, who crashSide) []string {
		return append([]string{first}, whereTimeGoes(who.seen, peer.seen)...)
	}
	return []Result{
		until("crash-to-answer", ours, serviceAnswers, withNotes(both, ours)...),
		until("crash-to-answer-icmp", ours, kernelAnswers, "the same to the first answer of the guest's kernel"),
		until("crash-to-answer-advised", advised, serviceAnswers, withNotes(other, advised)...),
	}
}

// detection asks Corosync on the first node by what it goes.
func (s *Stage) detection(ctx context.Context) (ring.Detection, error) {
	text, err := s.Cluster.Run(ctx, s.node(), "corosync-cmapctl")
	if err != nil {
		return ring.Detection{}, err
	}
	return ring.ParseDetection(text)
}

// setConsensus does what `vmferry check` advises, or takes it back where it is 0. Both nodes must be members.
func (s *Stage) setConsensus(ctx context.Context, consensus time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, agentTime, errors.New("corosync did not take it"))
	defer cancel()
	edit := []string{"--in-place", "--expression=/^ *consensus:/d"}
	if consensus > 0 {
		edit = append(edit, fmt.Sprintf("--expression=/^totem {/a consensus: %d", consensus.Milliseconds()))
	}
	var errs []error
	for _, node := range s.Cluster.Nodes { // also where one of them is down
		_, err := s.Cluster.Run(ctx, node, "sed", slices.Concat(edit, []string{ring.CorosyncConf})...)
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if _, err := s.Cluster.Run(ctx, s.node(), "corosync-cfgtool", "-R"); err != nil {
		return err
	}
	return cluster.Await(ctx, "corosync to take its configuration", func(ctx context.Context) (bool, error) {
		d, err := s.detection(ctx)
		return err == nil && (d.Consensus < d.Token) == (consensus > 0), err
	})
}

// crashOnce has one side's agent run the guest on the first node, kills that node, and removes the guest while it
// boots. A turn waits for nothing else but this: both nodes must be members before the guest is placed, or Pacemaker
// fences the one that it misses; and the guest must have answered, or there is nothing to lose.
func (s *Stage) crashOnce(ctx context.Context, r *scenario.Runner, who *crashSide) (one crashed, err error) {
	first, second := r.Cluster.Nodes[0], r.Cluster.Nodes[1]
	if err := r.Take(ctx); err != nil {
		return one, err
	}
	if err := s.setConsensus(ctx, who.consensus); err != nil {
		return one, err
	}
	if err := r.Place(ctx, who.agent, first); err != nil {
		return one, err
	}
	boots, err := r.Boots(ctx, first)
	if err != nil {
		return one, err
	}
	if one, err = s.crashAndWatch(ctx, r, first, second); err != nil {
		return one, err
	}
	if err := r.Remove(ctx, second); err != nil {
		return one, err
	}
	// The fence device has booted it already.
	return one, r.AwaitReturn(ctx, first, boots)
}

// crashAndWatch kills the node from, and waits until the guest answers on the node to.
func (s *Stage) crashAndWatch(ctx context.Context, r *scenario.Runner, from, to string) (one crashed, err error) {
	was, err := ask(ctx, s.Guest.Address)
	if err != nil {
		return one, err
	}
	service := net.JoinHostPort(s.Guest.Address, strconv.Itoa(guest.ReflectorPort))
	seen := probeFor(ctx, crashPace, "icmp://"+s.Guest.Address, "udp://"+service)
	defer seen.stop()
	if err := wait.For(ctx, before); err != nil {
		return one, err
	}
	one.at[killed] = time.Now()
	kill := supervisor.Request{Op: supervisor.OpKill, Node: from}
	if _, err := supervisor.Ask(ctx, r.Cluster.Control, kill); err != nil {
		return one, err
	}
	if err := s.awaitCrashed(ctx, r, to, was); err != nil {
		return one, err
	}
	if one.at[kernelAnswers], one.at[serviceAnswers], err = seen.answers(one.at[killed]); err != nil {
		return one, err
	}
	return s.collect(ctx, r, one, from, to)
}

// awaitCrashed waits until the guest has booted again and answers, with its only process on the node to.
func (s *Stage) awaitCrashed(ctx context.Context, r *scenario.Runner, to string, was guest.Status) error {
	ctx, cancel := context.WithTimeoutCause(ctx, crashTime, errors.New("it did not come back"))
	defer cancel()
	err := cluster.Await(ctx, "the guest to answer on "+to, func(ctx context.Context) (bool, error) {
		if on := r.Where(s.Guest.Name); !slices.Equal(on, []string{to}) {
			return false, fmt.Errorf("it runs on %v", on)
		}
		now, err := ask(ctx, s.Guest.Address)
		return err == nil && now.BootID != was.BootID, err
	})
	if err == nil && r.MaxExecuting(s.Guest.Name) > 1 {
		return fmt.Errorf("guest %q executed twice at once", s.Guest.Name)
	}
	return err
}

// collect adds the instants that others saw.
func (s *Stage) collect(ctx context.Context, r *scenario.Runner, one crashed, from, to string) (crashed, error) {
	begun := one.at[killed]
	reply, err := r.Cluster.State(ctx)
	if err != nil {
		return one, err
	}
	one.fence(reply.Fence, from)
	copies, events := r.Seen(s.Guest.Name)
	one.watched(copies, events, to)
	journal, err := r.Cluster.Run(ctx, to, "journalctl", "--output=short-unix", "--no-pager", "--quiet",
		"--since=@"+strconv.FormatInt(begun.Unix(), 10), "--identifier=corosync", "--identifier=pacemaker-controld")
	if err != nil {
		return one, err
	}
	one.journal(journal, s.Guest.Name)
	return one, nil
}

// answers ends the probing. The instants are those of the first answers after each target's longest blackout, which
// must be the one of the kill.
func (p *probing) answers(since time.Time) (kernel, service time.Time, err error) {
	targets, err := p.targets()
	if err != nil {
		return kernel, service, err
	}
	for _, t := range targets {
		if !t.BlackoutEnd.After(since) {
			return kernel, service, fmt.Errorf("clients of %s saw no end of the crash", t.Target)
		}
	}
	return targets[0].BlackoutEnd, targets[1].BlackoutEnd, nil
}
