package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/lab/guest/ledger"
	"github.com/vmferry/vmferry/lab/mirrored"
	"github.com/vmferry/vmferry/lab/supervisor"
	"github.com/vmferry/vmferry/migrate/mirror"
	"github.com/vmferry/vmferry/migrate/wait"
)

const (
	lossInterval = 10 * time.Second
	lossMost     = time.Minute // mirror_max_loss
	// lossPace is between two numbers: the client must remember those of two intervals.
	lossPace = 100 * time.Millisecond
)

// How a crash of a node ended whose guest is mirrored.
const (
	endedWithin = "within what was said"
	endedMore   = "more than was said"
	endedTorn   = "torn"
	endedTwice  = "two truths"
	endedShort  = "broke off"
)

// loss is what one crash has cost.
type loss struct {
	lost, said float64 // seconds before the crash
	numbers    int     // that are lost
	wrong      string  // what was seen and must not be; how it ended says more
	ended      string
}

// judgeLoss compares what a ledger had acknowledged before a crash with what it has now, and with what was said.
func judgeLoss(acked []ledger.Ack, s ledger.Scan, crashed time.Time, said time.Duration) loss {
	lost, torn := mirrored.Lost(acked, s)
	l := loss{said: said.Seconds(), numbers: len(lost), ended: endedWithin}
	if len(lost) > 0 {
		l.lost = max(0, crashed.Sub(lost[0].At).Seconds())
	}
	if s.Damaged > 0 {
		torn = append(torn, fmt.Sprintf("%d records are damaged", s.Damaged))
	}
	switch {
	case len(torn) > 0:
		l.ended, l.wrong = endedTorn, strings.Join(torn, ", ")
	case l.lost > l.said:
		l.ended, l.wrong = endedMore, fmt.Sprintf("%.2f s are lost, and %.2f s at most were said", l.lost, l.said)
	}
	return l
}

// twice says whether both nodes have the truth of a guest, or it has executed twice at once.
func (l *loss) twice(executing int, a, b *mirror.Manifest) {
	switch {
	case executing > 1:
		l.wrong = fmt.Sprintf("%d copies of the guest executed at once", executing)
	case a == nil || b == nil || a.Role != mirror.Truth || b.Role != mirror.Replica || a.Epoch != b.Epoch:
		l.wrong = fmt.Sprintf("the nodes have %s and %s", inWords(a), inWords(b))
	default:
		return
	}
	l.ended = endedTwice
}

func inWords(m *mirror.Manifest) string {
	if m == nil {
		return "nothing"
	}
	return fmt.Sprintf("the %s of epoch %d", m.Role, m.Epoch)
}

// lossResult is of all crashes.
func lossResult(all []loss) Result {
	lost, said := each(all, func(l loss) float64 { return l.lost }), each(all, func(l loss) float64 { return l.said })
	r := compare("mirror-loss", "s", "what was said", lost, said)
	r.OursEnded = Endings{}
	worst := 0.0
	for i, l := range all {
		r.OursEnded[l.ended]++
		if l.said > 0 {
			worst = max(worst, l.lost/l.said)
		}
		if l.wrong != "" {
			r.Notes = append(r.Notes, fmt.Sprintf("crash %d: %s", i+1, l.wrong))
		}
	}
	r.Notes = append([]string{
		fmt.Sprintf("a node crashes at random with a guest whose mirror_interval is %s: the age of the oldest number that was "+
			"acknowledged and is lost, against what the agent said is lost at most", lossInterval),
		fmt.Sprintf("the highest ratio of a crash is %.3f; to reach: 1 each time, nothing torn, and one truth", worst),
		fmt.Sprintf("%.0f numbers are lost (median), of ten a second", Summarize(each(all, func(l loss) float64 {
			return float64(l.numbers)
		})).P50),
	}, r.Notes...)
	return r
}

// mirrorLoss measures what crashes cost. Each is followed by the node's return, and by a whole replica on it.
func mirrorLoss(ctx context.Context, s *Stage) ([]Result, error) {
	kind := localKind{name: "loss", first: 87, disk: 64, written: 40, interval: lossInterval, maxLoss: lossMost}
	var all []loss
	err := s.localGuests(ctx, kind, func(ctx context.Context, l *locals) error {
		for n := range s.N {
			l.Progress(fmt.Sprintf("mirror-loss: crash %d of %d", n+1, s.N))
			one, err := l.crash(ctx)
			if err != nil {
				return fmt.Errorf("crash %d of %d: %w", n+1, s.N, err)
			}
			all = append(all, one)
		}
		return nil
	})
	if len(all) == 0 {
		return nil, err
	}
	r := lossResult(all)
	if err != nil { // what the others cost is known
		r.OursEnded[endedShort]++
		r.Notes = append(r.Notes, err.Error())
	}
	return []Result{r}, nil
}

// crash kills the node with the guest at some moment, waits for the guest on the other one, and for the node's return.
func (l *locals) crash(ctx context.Context) (one loss, err error) {
	from, to := l.here(l.ours), l.there(l.ours)
	boots, err := l.runner.Boots(ctx, from)
	if err != nil {
		return one, err
	}
	before := l.ours.newClient(lossPace)
	hangUp := run(ctx, before)
	defer hangUp()
	if err := wait.For(ctx, lossInterval+rand.N(lossInterval)); err != nil {
		return one, err
	}
	crashed := time.Now()
	if _, err := supervisor.Ask(ctx, l.Cluster.Control, supervisor.Request{Op: supervisor.OpKill, Node: from}); err != nil {
		return one, err
	}
	hangUp()
	if len(before.Acked()) == 0 {
		return one, errors.New("the guest acknowledged nothing before the crash")
	}
	records, err := l.promoted(ctx, to)
	if err != nil {
		return one, err
	}
	log, err := l.Cluster.Run(ctx, to, "journalctl", "--boot", "--no-pager", "--output=cat", "--identifier=vmferry-agent",
		"--since=@"+strconv.FormatInt(crashed.Unix(), 10))
	if err != nil {
		return one, err
	}
	said, err := mirrored.SaidLoss(log)
	if err != nil {
		return one, fmt.Errorf("what the agent says of the loss: %w", err)
	}
	one = judgeLoss(before.Acked(), records, crashed, said)
	l.ours.at = 1 - l.ours.at
	if err := l.runner.AwaitReturn(ctx, from, boots); err != nil { // the fence device has booted it
		return one, err
	}
	if err := l.synced(ctx, time.Now()); err != nil {
		return one, err
	}
	truth, terr := l.view.Manifest(to, l.ours.UUID)
	replica, rerr := l.view.Manifest(from, l.ours.UUID)
	one.twice(l.runner.MaxExecutingBetween(l.ours.Name, crashed, time.Now()), truth, replica)
	// What the crash has left is for an operator, who removes it.
	return one, errors.Join(terr, rerr, l.Cluster.Everywhere(ctx, "rm", "--force", l.ours.spec.Disk+mirror.OldSuffix))
}

// promoted waits until the guest has booted on a node, and returns the numbers that it has.
func (l *locals) promoted(ctx context.Context, node string) (s ledger.Scan, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, crashTime, errors.New("it did not come back"))
	defer cancel()
	err = cluster.Await(ctx, "the guest to answer on "+node, func(ctx context.Context) (bool, error) {
		if on := l.runner.Where(l.ours.Name); !slices.Equal(on, []string{node}) {
			return false, fmt.Errorf("it runs on %v", on)
		}
		s, err = l.ours.newClient(0).Records(ctx)
		return err == nil, err
	})
	return s, err
}

// run has a client send numbers, until the function is called that it returns.
func run(ctx context.Context, c *ledger.Client) (hangUp func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); c.Run(ctx) }()
	return func() { cancel(); <-done }
}
