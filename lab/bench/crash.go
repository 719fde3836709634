package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vmferry/vmferry/hbplugin/ring"
	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/lab/guest"
	"github.com/vmferry/vmferry/lab/report"
	"github.com/vmferry/vmferry/lab/scenario"
	"github.com/vmferry/vmferry/lab/supervisor"
)

const (
	// crashPace is between two probes of one target: next to the seconds of a crash it is nothing, and it costs the guest
	// that boots next to nothing.
	crashPace = 20 * time.Millisecond
	// crashTime bounds the time from the kill to the guest's answer.
	crashTime = 2 * time.Minute
)

// instant is a turning point of a crash. They are in the order in which they happen.
type instant int

// The instants.
const (
	killed         instant = iota // the node is killed
	tokenLost                     // corosync on the survivor gives the token up
	newMembership                 // it has waited for consensus, and has a membership without the node
	fencing                       // the fence device is asked
	fenced                        // it has confirmed
	startCalled                   // Pacemaker calls the agent's start
	processThere                  // the guest's QEMU process is on the survivor
	guestRuns                     // RESUME: QEMU lets the guest run
	kernelAnswers                 // the guest's kernel answers the first ICMP echo request
	serviceAnswers                // the light service answers the first probe over UDP
	instantCount
)

// parts name the time that ends at each instant, in the notes.
var parts = [instantCount]string{
	tokenLost:      "until corosync's token timeout",
	newMembership:  "until corosync has a new membership (consensus)",
	fencing:        "until Pacemaker asks the fence device",
	fenced:         "until the fence device confirms",
	startCalled:    "until Pacemaker calls start",
	processThere:   "from the call of start until the QEMU process is there",
	guestRuns:      "until the guest runs (RESUME)",
	kernelAnswers:  "until the guest's kernel answers (ICMP)",
	serviceAnswers: "until its service answers (UDP)",
}

// own are the parts in which the agent works. In all others corosync, Pacemaker, the fence device and the guest do.
var own = []instant{processThere, guestRuns}

// crashed is what was seen of one crash.
type crashed struct {
	at       [instantCount]time.Time // the zero time where it was not seen
	returned time.Time               // when start returned, as Pacemaker logs it
}

// took is the time from the instant before i until i, in seconds. It is false where one of the two was not seen.
func (c crashed) took(i instant) (float64, bool) {
	if i == killed || c.at[i].IsZero() || c.at[i-1].IsZero() {
		return 0, false
	}
	return c.at[i].Sub(c.at[i-1]).Seconds(), true
}

// since is the time from the kill until an instant, in seconds.
func (c crashed) since(i instant) float64 { return c.at[i].Sub(c.at[killed]).Seconds() }

// start is the time from the call of start until it returned, in seconds.
func (c crashed) start() (float64, bool) {
	if c.at[startCalled].IsZero() || c.returned.IsZero() {
		return 0, false
	}
	return c.returned.Sub(c.at[startCalled]).Seconds(), true
}

// crashes are one side's.
type crashes []crashed

// median is of the crashes for which of is true; it is false where that is none.
func (all crashes) median(of func(crashed) (float64, bool)) (float64, bool) {
	var values []float64
	for _, c := range all {
		if v, ok := of(c); ok {
			values = append(values, v)
		}
	}
	return Summarize(values).P50, len(values) > 0
}

// inWords is a median in seconds.
func (all crashes) inWords(of func(crashed) (float64, bool)) string {
	v, ok := all.median(of)
	if !ok {
		return "not seen"
	}
	return fmt.Sprintf("%.2f s", v)
}

// shares is the median time that the agent takes of a crash, and the one that all others take.
func (all crashes) shares() (agent, others float64) {
	sum := func(want bool) func(crashed) (float64, bool) {
		return func(c crashed) (total float64, ok bool) {
			for i := killed + 1; i < instantCount; i++ {
				if took, seen := c.took(i); seen && slices.Contains(own, i) == want {
					total += took
					ok = true
				}
			}
			return total, ok
		}
	}
	agent, _ = all.median(sum(true))
	others, _ = all.median(sum(false))
	return agent, others
}

// whereTimeGoes tells both sides' medians of each part.
func whereTimeGoes(ours, peer crashes) []string {
	var notes []string
	line := func(what string, of func(crashed) (float64, bool)) {
		notes = append(notes, fmt.Sprintf("%s: %s, %s with %s", what, ours.inWords(of), peer.inWords(of), report.Peer))
	}
	for i := killed + 1; i < instantCount; i++ {
		line(parts[i], func(c crashed) (float64, bool) { return c.took(i) })
	}
	line("beside that, the agent's start as a whole", crashed.start)
	oursAgent, oursOthers := ours.shares()
	peerAgent, peerOthers := peer.shares()
	return append(notes, fmt.Sprintf("of it the agent's own: %.2f s, %.2f s with %s; corosync's, Pacemaker's, the fence device's and the guest's: %.2f s and %.2f s",
		oursAgent, peerAgent, report.Peer, oursOthers, peerOthers))
}

// crashSide is one that has its turns: an agent, and how long Corosync waits for consensus.
type crashSide struct {
	side
	consensus time.Duration // 0 for Corosync's default
	seen      crashes
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
		if detection, err = s.detection(ctx); err != nil {
			return err
		}
		advised.consensus, _ = detection.ShortConsensus()
		defer func() { err = errors.Join(err, s.setConsensus(context.WithoutCancel(ctx), 0)) }()
		order := []*crashSide{ours, peer, advised}
		for round := range s.N {
			for _, who := range order {
				s.Progress(fmt.Sprintf("crash-to-answer: round %d of %d, %s, consensus %s", round+1, s.N, who.label, cmp.Or(who.consensus, detection.Consensus)))
				one, err := s.crashOnce(ctx, r, who)
				if err != nil {
					return err
				}
				who.seen = append(who.seen, one)
			}
			slices.Reverse(order)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return crashResults(detection, *ours, *peer, *advised), nil
}

// crashResults compares the sides.
func crashResults(d ring.Detection, ours, peer, advised crashSide) []Result {
	until := func(name string, who crashSide, i instant, notes ...string) Result {
		r := compare(name, "s", report.Peer, who.seen.until(i), peer.seen.until(i))
		r.Notes = notes
		return r
	}
	both := fmt.Sprintf("from the kill of the node to the light service's first answer over UDP, one guest, both sides with token %s and consensus %s",
		d.Token, d.Consensus)
	other := fmt.Sprintf("the same, ours with the consensus that vmferry check advises, %s: the difference is Corosync's, and %s's guests would gain as much by it",
		advised.consensus, report.Peer)
	return []Result{
		until("crash-to-answer", ours, serviceAnswers, append([]string{both}, whereTimeGoes(ours.seen, peer.seen)...)...),
		until("crash-to-answer-icmp", ours, kernelAnswers, "the same to the first answer of the guest's kernel"),
		until("crash-to-answer-advised", advised, serviceAnswers, append([]string{other}, whereTimeGoes(advised.seen, peer.seen)...)...),
	}
}

// until are the times from the kill until an instant, in seconds.
func (all crashes) until(i instant) []float64 {
	var seconds []float64
	for _, c := range all {
		seconds = append(seconds, c.since(i))
	}
	return seconds
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
	edit := []string{"--in-place", "--expression=/^ *consensus:/d"}
	if consensus > 0 {
		edit = append(edit, fmt.Sprintf("--expression=/^totem {/a consensus: %d", consensus.Milliseconds()))
	}
	for _, node := range s.Cluster.Nodes {
		if _, err := s.Cluster.Run(ctx, node, "sed", append(edit, ring.CorosyncConf)...); err != nil {
			return err
		}
	}
	if _, err := s.Cluster.Run(ctx, s.node(), "corosync-cfgtool", "-R"); err != nil {
		return err
	}
	return cluster.Await(ctx, "corosync to take its configuration", func(ctx context.Context) (bool, error) {
		d, err := s.detection(ctx)
		return err == nil && (d.Consensus < d.Token) == (consensus > 0), err
	})
}

// crashOnce has one side's agent run the guest on the first node, and kills that. The guest is taken away again while the
// node boots. What a turn waits for besides: both nodes must be members before the guest is placed, or Pacemaker
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
	seen := probeFor(ctx, crashPace, "icmp://"+s.Guest.Address, "udp://"+net.JoinHostPort(s.Guest.Address, strconv.Itoa(guest.ReflectorPort)))
	defer seen.stop()
	if err := sleep(ctx, before); err != nil {
		return one, err
	}
	one.at[killed] = time.Now()
	if _, err := supervisor.Ask(ctx, r.Cluster.Control, supervisor.Request{Op: supervisor.OpKill, Node: from}); err != nil {
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

// fence takes the instants of the device's first action on the node since the kill that succeeded.
func (c *crashed) fence(events []supervisor.FenceEvent, node string) {
	i := slices.IndexFunc(events, func(e supervisor.FenceEvent) bool {
		return e.Node == node && e.Op != supervisor.OpOn && !e.Asked.Before(c.at[killed]) && e.Error == "" && !e.Done.IsZero()
	})
	if i >= 0 {
		c.at[fencing], c.at[fenced] = events[i].Asked, events[i].Done
	}
}

// watched takes the instants of the guest's process on the node.
func (c *crashed) watched(copies []scenario.Copy, events []scenario.Event, node string) {
	for _, one := range copies {
		if one.Node == node && one.Seen.After(c.at[killed]) && c.at[processThere].IsZero() {
			c.at[processThere] = one.Seen
		}
	}
	for _, e := range events {
		if e.Node == node && e.Name == scenario.Resume && e.At.After(c.at[killed]) && c.at[guestRuns].IsZero() {
			c.at[guestRuns] = e.At
		}
	}
}

// journal takes the instants that corosync and Pacemaker log on the survivor, from lines of journalctl's short-unix form.
func (c *crashed) journal(text, guest string) {
	for line := range strings.Lines(text) {
		stamp, message, _ := strings.Cut(line, " ")
		seconds, err := strconv.ParseFloat(stamp, 64)
		if err != nil {
			continue
		}
		at := time.UnixMicro(int64(seconds * 1e6))
		var to *time.Time
		switch {
		case strings.Contains(message, "A processor failed, forming new configuration"):
			to = &c.at[tokenLost]
		case strings.Contains(message, "A new membership (") && !c.at[tokenLost].IsZero():
			to = &c.at[newMembership]
		case strings.Contains(message, "Requesting local execution of start operation for "+guest+" "):
			to = &c.at[startCalled]
		case strings.Contains(message, "Result of start operation for "+guest+" "):
			to = &c.returned
		default:
			continue
		}
		if to.IsZero() && at.After(c.at[killed]) {
			*to = at
		}
	}
}

// answers ends the probing. The instants are those of the first answers after the longest blackout of each target, which
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
