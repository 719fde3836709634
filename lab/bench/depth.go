package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/vmferry/vmferry/lab/report"
	"github.com/vmferry/vmferry/lab/scenario"
)

// idleWork is what the guest of these moves does.
const idleWork = "the guest answers its clients and writes a record to its disk every 100 ms; nothing else"

// idleResults are what idle gives, the headline first.
var idleResults = []string{
	"idle-pause", "kernel-gap-icmp", "kernel-gap-tcp", "client-gap-udp", "client-gap-tcp", "request-gap-tcp",
	"idle-blackout-udp", "idle-blackout-tcp", "own-work",
}

// idle measures moves of an idle guest at all depths, and beside them the emulator's own part.
func idle(ctx context.Context, s *Stage) ([]Result, error) {
	m, err := s.mover(s.Guest)
	if err != nil {
		return nil, err
	}
	m.probe, m.weigh = true, true
	e, err := s.newEmulator(ctx)
	if err != nil {
		return nil, err
	}
	defer e.close(context.WithoutCancel(ctx))
	all, err := m.shuttleBeside(ctx, "idle-pause", e)
	if err != nil {
		return nil, err
	}
	return append(all.kernel("kernel-gap"), slices.Concat(all.client(e.seen), []Result{
		all.requests(),
		all.light("idle-blackout-udp", udpOf),
		all.light("idle-blackout-tcp", tcpOf),
		m.workResult(all),
	})...), nil
}

// kernel is the pause of moves, and the gaps of the guest's kernel.
func (m moves) kernel(name string) []Result {
	pause := m.result("idle-pause", "ms", pauseOf)
	pause.Notes = []string{
		idleWork, fmt.Sprintf("every target is probed every %s; probe-share is what that costs", moveInterval),
		"a gap has an error of one interval; where packets wait for the guest it is half of one too short on average",
	}
	icmp, acks := m.result(name+"-icmp", "ms", icmpOf), m.result(name+"-tcp", "ms", acksOf)
	icmp.Notes = []string{"kernel: longest silence of ICMP echo; " + m.beyondPause(icmpOf)}
	acks.Notes = []string{
		"kernel: longest silence of TCP's acknowledgements, with their delay of up to 40 ms; " + m.beyondPause(acksOf),
	}
	return []Result{pause, icmp, acks}
}

// requests is the longest wait of a client with one request in flight. One whose connection broke has none: how many
// that are is reported, as they are the worst.
func (m moves) requests() Result {
	r := m.result("request-gap-tcp", "ms", requestOf)
	broken := func(all []move) int { return endings(all)[endedLive] - len(live(all, requestOf)) }
	r.Notes = []string{fmt.Sprintf("light service: the longest wait of a client with one request in flight; "+
		"its connection broke in %d live moves, with %s in %d, which are in no figure",
		broken(m.ours), report.Peer, broken(m.peer))}
	return r
}

// light is a gap of the light service.
func (m moves) light(name string, of func(move) float64) Result {
	r := m.result(name, "ms", of)
	r.Notes = []string{"light service: its whole gap"}
	return r
}

// beyondPause says what of a gap is not the pause, move by move.
func (m moves) beyondPause(gap func(move) float64) string {
	beyond := func(one move) float64 { return gap(one) - one.Pause }
	part := func(all []move) string {
		return fmt.Sprintf("%.1f + %.1f ms", Summarize(live(all, pauseOf)).P50, Summarize(live(all, beyond)).P50)
	}
	return fmt.Sprintf("pause + rest (medians): %s, with %s %s", part(m.ours), report.Peer, part(m.peer))
}

// client is what of the light service's gaps is not the emulator's own part.
func (m moves) client(emulator []answered) []Result {
	var results []Result
	for _, c := range []struct {
		name    string
		of      func(move) float64
		cold    func(answered) float64
		service string
	}{{"client-gap-udp", udpOf, answered.udp, "UDP"}, {"client-gap-tcp", tcpOf, answered.tcp, "TCP"}} {
		part := Summarize(each(emulator, c.cold))
		r := m.result(c.name, "ms", func(one move) float64 { return c.of(one) - part.P50 })
		ours, peer := Summarize(live(m.ours, c.of)).P50, Summarize(live(m.peer, c.of)).P50
		r.Notes = []string{fmt.Sprintf(
			"light service over %s: its whole gap (%.1f ms, with %s %.1f ms) less the emulator's part, %.1f ms (n %d, max %.1f)",
			c.service, ours, report.Peer, peer, part.P50, part.N, part.Max)}
		results = append(results, r)
	}
	results[0].Notes = append(results[0].Notes,
		"the emulator's part: the gap less the pause of a guest that nobody moves, after loadvm, on our moves' target",
		"medians of it: "+medians(emulator))
	return results
}

func (a answered) icmp() float64 { return a.ICMP }
func (a answered) acks() float64 { return a.Acks }
func (a answered) udp() float64  { return a.UDP }
func (a answered) tcp() float64  { return a.TCP }

// medians reports all depths.
func medians(all []answered) string {
	p50 := func(of func(answered) float64) float64 { return Summarize(each(all, of)).P50 }
	return fmt.Sprintf("kernel %.1f ms (ICMP) and %.1f ms (TCP), light service %.1f ms (UDP) and %.1f ms (TCP)",
		p50(answered.icmp), p50(answered.acks), p50(answered.udp), p50(answered.tcp))
}

// emulator measures its own part in a gap: at a guest on each node that nobody moves. They are stopped but for their
// turns.
type emulator struct {
	bares   []*bare
	runners []*scenario.Runner
	seen    []answered
}

func (s *Stage) newEmulator(ctx context.Context) (*emulator, error) {
	e := &emulator{}
	for i := range s.Cluster.Nodes {
		b, err := s.newBare(ctx, i)
		if err != nil {
			return nil, err
		}
		r, err := s.runner([]scenario.Guest{b.guest}, moveInterval)
		if err != nil {
			return nil, err
		}
		e.bares, e.runners = append(e.bares, b), append(e.runners, r)
	}
	return e, nil
}

// boot boots the guests, one after the other, and stops them.
func (e *emulator) boot(ctx context.Context) error {
	for _, b := range e.bares {
		if err := b.boot(ctx); err != nil {
			return err
		}
		if _, err := b.live.execute(ctx, "stop", nil); err != nil {
			return err
		}
	}
	return nil
}

func (e *emulator) close(ctx context.Context) {
	for _, b := range e.bares {
		b.close(ctx)
	}
}

// measure measures the emulator's part on the node of that index once.
func (e *emulator) measure(ctx context.Context, index int) (took answered, err error) {
	b := e.bares[index]
	if _, err := b.live.execute(ctx, "cont", nil); err != nil {
		return took, err
	}
	defer func() {
		_, serr := b.live.execute(context.WithoutCancel(ctx), "stop", nil)
		err = errors.Join(err, serr)
	}()
	if err := b.stage.awaitGuest(ctx, b.guest.Address); err != nil {
		return took, err
	}
	return b.relearn(ctx, e.runners[index], true)
}

// shuttleBeside is shuttle, in whose turns the emulator's own part is a third side. It is measured on the node to
// which ours moves the guest in that round.
func (m *mover) shuttleBeside(ctx context.Context, name string, e *emulator) (moves, error) {
	var all moves
	var moved bool // ours has moved in this round
	three := append(slices.Clone(m.sides), side{label: "the emulator's own part", bare: true})
	err := m.run(ctx, func(ctx context.Context) error {
		if err := e.boot(ctx); err != nil {
			return err
		}
		last := -2
		return turns(three, m.stage.N, true, func(round int, who side) error {
			if round != last {
				last, moved = round, false
			}
			m.stage.Progress(fmt.Sprintf("%s: round %d of %d, %s", name, round+1, m.stage.N, who.label))
			if who.bare {
				took, err := e.measure(ctx, targetOf(m.at, moved))
				if err == nil && round >= 0 {
					e.seen = append(e.seen, took)
				}
				return err
			}
			one, err := m.move(ctx, who)
			moved = moved || who.ours
			if err == nil && round >= 0 {
				all.add(who, one)
			}
			return err
		})
	})
	return all, err
}

// targetOf is the node to which ours moves the guest in a round in which both sides move it once. at is where it is
// before both have moved it, or after; moved tells the latter.
func targetOf(at int, moved bool) int {
	if moved {
		return 1 - at // ours moved it there, and the peer back
	}
	return at // the peer will move it away, and ours back
}
