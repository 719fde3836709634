package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/lab/guest"
	"github.com/vmferry/vmferry/lab/report"
	"github.com/vmferry/vmferry/lab/scenario"
	"github.com/vmferry/vmferry/lab/supervisor"
	"github.com/vmferry/vmferry/migrate/blackout"
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

// crash measures how long a client waits for a guest whose node is killed. The cluster, its timeouts and its fence device
// are the same for both sides.
func crash(ctx context.Context, s *Stage) ([]Result, error) {
	r, err := s.runner([]scenario.Guest{s.Guest}, crashPace)
	if err != nil {
		return nil, err
	}
	var ours, peer crashes
	err = r.Run(ctx, func(ctx context.Context) error {
		return turns(sides, s.N, false, func(round int, who side) error {
			s.Progress(fmt.Sprintf("crash-to-answer: round %d of %d, %s", round+1, s.N, who.label))
			one, err := s.crashOnce(ctx, r, who)
			if who.ours {
				ours = append(ours, one)
			} else {
				peer = append(peer, one)
			}
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	until := func(name string, i instant) Result {
		var seconds [2][]float64
		for n, side := range []crashes{ours, peer} {
			for _, c := range side {
				seconds[n] = append(seconds[n], c.since(i))
			}
		}
		return compare(name, "s", report.Peer, seconds[0], seconds[1])
	}
	service, kernel := until("crash-to-answer", serviceAnswers), until("crash-to-answer-icmp", kernelAnswers)
	service.Notes = append([]string{"from the kill of the node to the light service's first answer over UDP, one guest"}, whereTimeGoes(ours, peer)...)
	kernel.Notes = []string{"the same to the first answer of the guest's kernel"}
	return []Result{service, kernel}, nil
}

// crashOnce has one side's agent run the guest on the first node, and kills that. The guest is taken away again while the
// node boots. What a turn waits for besides: both nodes must be members before the guest is placed, or Pacemaker
// fences the one that it misses; and the guest must have answered, or there is nothing to lose.
func (s *Stage) crashOnce(ctx context.Context, r *scenario.Runner, who side) (one crashed, err error) {
	first, second := r.Cluster.Nodes[0], r.Cluster.Nodes[1]
	if err := r.Take(ctx); err != nil {
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
	return one, r.AwaitReturn(ctx, first, boots)
}

// crashAndWatch kills the node from, and waits until the guest answers on the node to.
func (s *Stage) crashAndWatch(ctx context.Context, r *scenario.Runner, from, to string) (one crashed, err error) {
	was, err := ask(ctx, s.Guest.Address)
	if err != nil {
		return one, err
	}
	seen := watchCrash(ctx, s.Guest.Address)
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

// crashWatch probes the guest's kernel and its service.
type crashWatch struct {
	cancel context.CancelFunc
	done   chan struct{}
	report *blackout.Report
	err    error
}

func watchCrash(ctx context.Context, address string) *crashWatch {
	ctx, cancel := context.WithCancel(ctx)
	w := &crashWatch{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		w.report, w.err = blackout.Watch(ctx, blackout.Config{
			Targets:  []string{"icmp://" + address, "udp://" + net.JoinHostPort(address, strconv.Itoa(guest.ReflectorPort))},
			Interval: crashPace, Linger: crashPace,
		})
	}()
	return w
}

func (w *crashWatch) stop() {
	w.cancel()
	<-w.done
}

// answers ends the probing. The instants are those of the first answers after the longest blackout of each target, which
// must be the one of the kill.
func (w *crashWatch) answers(since time.Time) (kernel, service time.Time, err error) {
	w.stop()
	if w.err != nil {
		return kernel, service, fmt.Errorf("probe the guest: %w", w.err)
	}
	for _, t := range w.report.Targets {
		if !t.BlackoutEnd.After(since) {
			return kernel, service, fmt.Errorf("clients of %s saw no end of the crash", t.Target)
		}
	}
	return w.report.Targets[0].BlackoutEnd, w.report.Targets[1].BlackoutEnd, nil
}
