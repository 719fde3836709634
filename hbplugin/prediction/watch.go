package prediction

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/managers"
	"github.com/vmferry/vmferry/hbplugin/verdict"
	"github.com/vmferry/vmferry/migrate/wait"
)

const (
	// roundTime bounds one round of questions: a target that hangs takes a minute for each guest.
	roundTime = 5 * time.Minute
	// retryAfter is the time to the next attempt while no cluster manager answers, as after the boot.
	retryAfter = 30 * time.Second
	// busyWait is the time to the next look while a manager is at work, and busyTries bounds these: something may
	// always be.
	busyWait  = 10 * time.Second
	busyTries = 6
	// jitterShare is the part of the interval by which each wait is longer at random, so that nodes that were booted
	// together do not ask together.
	jitterShare = 5
)

// Watch is the task that reports, while no shutdown is going on, which guests would not move live: at the start of the
// daemon, and every few minutes. It is no part of the drain, and a round of it that takes long keeps nobody waiting.
type Watch struct {
	Predictor *Predictor
	Every     time.Duration                                // zero: never
	Status    func(ctx context.Context, line string) error // sets the part of the status line; an error ends Run
	Busy      func() bool                                  // guests are leaving, and need the processors
	Log       logrus.FieldLogger
}

// Run asks until ctx ends, which is no error.
func (w Watch) Run(ctx context.Context) error {
	if w.Every <= 0 {
		<-ctx.Done()
		return nil
	}
	known, problem := latest{}, ""
	pause := jitter(min(w.Every, retryAfter))
	for {
		if wait.For(ctx, pause) != nil {
			return nil
		}
		verdicts, err := w.look(ctx)
		if ctx.Err() != nil {
			return nil
		}
		pause = w.Every + jitter(w.Every)
		if errors.Is(err, errShutdown) {
			continue
		}
		if err != nil && !errors.Is(err, errStandby) {
			if text := err.Error(); text != problem {
				w.cannotTell(err)
				problem = text
			}
			pause = min(w.Every, retryAfter)
			continue
		}
		problem = ""
		for _, v := range known.update(verdicts) {
			logChange(w.Log, v)
		}
		if err := w.Status(ctx, known.line()); err != nil {
			return nil // the daemon ends
		}
	}
}

// cannotTell says why nothing is known. A node without a cluster manager needs nobody's attention.
func (w Watch) cannotTell(err error) {
	log := w.Log.WithError(err)
	if errors.Is(err, managers.ErrNone) {
		log.Info("cannot predict which guests would move live")
		return
	}
	log.Warn("cannot predict which guests would move live")
}

// errStandby is why nothing is asked: the node is being emptied, or is empty.
var errStandby = errors.New("the node is in standby")

// look asks once. While the manager is at work on a guest, what it would do next is not what it would do in a minute;
// and while a guest leaves, the questions would keep its clients waiting.
func (w Watch) look(ctx context.Context) ([]hbplugin.Verdict, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, roundTime, fmt.Errorf("no answer within %v", roundTime))
	defer cancel()
	for try := 1; ; try++ {
		last := try == busyTries
		if last || !w.Busy() {
			seen, err := managers.Look(ctx, w.Predictor.from.Managers())
			switch {
			case err != nil:
				return nil, err
			case seen.Standby:
				return nil, errStandby
			case !seen.Busy || last:
				return w.Predictor.Predict(ctx, seen.Managers)
			}
		}
		if wait.For(ctx, busyWait) != nil {
			return nil, context.Cause(ctx)
		}
	}
}

// jitter is a random part of a wait.
func jitter(d time.Duration) time.Duration { return rand.N(d/jitterShare + 1) }

// logChange tells an operator of a verdict.
func logChange(log logrus.FieldLogger, v hbplugin.Verdict) {
	log = log.WithFields(verdict.Fields(v))
	switch {
	case v.Fate.KeepsRunning():
		log.Infof("guest %s would move live again at a shutdown of this node", v.Resource)
	case v.Fate == hbplugin.Unknown:
		log.Warnf("guest %s: %s whether it would move live at a shutdown of this node", v.Resource, hbplugin.Unknown)
	default:
		log.Warnf("guest %s would not move live at a shutdown of this node: it %s", v.Resource, verdict.Words(v))
	}
}

// latest is the last verdict of each guest.
type latest map[string]hbplugin.Verdict

// update replaces the verdicts, and returns those that are not logged yet, by guest: a guest would not
// move live, or for another reason than before, or it would again.
func (l latest) update(verdicts []hbplugin.Verdict) []hbplugin.Verdict {
	var changed []hbplugin.Verdict
	old := maps.Clone(l)
	clear(l)
	for _, v := range verdicts {
		before, known := old[v.Resource]
		switch {
		case v.Fate.KeepsRunning() && (!known || before.Fate.KeepsRunning()):
		// the words of an error may differ each time
		case v.Fate == hbplugin.Unknown && before.Fate == hbplugin.Unknown:
		case !v.Fate.KeepsRunning() && before.Fate == v.Fate && before.Why == v.Why && before.Remedy == v.Remedy:
		default:
			changed = append(changed, v)
		}
		l[v.Resource] = v
	}
	slices.SortFunc(changed, func(a, b hbplugin.Verdict) int { return cmp.Compare(a.Resource, b.Resource) })
	return changed
}

// line is the prediction in a status line; empty where all would move live.
func (l latest) line() string {
	not, unknown := 0, 0
	for _, v := range l {
		switch {
		case v.Fate.KeepsRunning():
		case v.Fate == hbplugin.Unknown:
			unknown++
		default:
			not++
		}
	}
	var parts []string
	if not > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d guests would not move live", not, len(l)))
	}
	if unknown > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d guests cannot be predicted", unknown, len(l)))
	}
	if len(parts) == 0 {
		return ""
	}
	return strings.Join(parts, ", ") + ": type journalctl -u vmferryd"
}
