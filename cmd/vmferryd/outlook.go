package main

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
	"github.com/vmferry/vmferry/hbplugin/verdict"
)

const (
	// outlookMost bounds one round of questions: a target that hangs takes a minute for each guest.
	outlookMost = 5 * time.Minute
	// outlookAgain is the time to the next attempt while no cluster manager answers, as after the boot.
	outlookAgain = 30 * time.Second
	// settleWait is the time to the next look while a manager is at work, and settleTries bounds these: something may
	// always be.
	settleWait  = 10 * time.Second
	settleTries = 6
	// outlookShare is the part of the interval by which each wait is longer at random, so that nodes that were booted
	// together do not ask together.
	outlookShare = 5
)

// outlookTask says, while no shutdown is going on, which guests would not move live: at the start of the daemon, and
// every few minutes. It is no part of the drain, and a round of it that takes long keeps nobody waiting.
type outlookTask struct {
	teller *teller
	every  time.Duration                                // zero: never
	tell   func(ctx context.Context, line string) error // for the status line
	busy   func() bool                                  // guests are leaving, and need the processors
	log    logrus.FieldLogger
}

func (outlookTask) String() string         { return "outlook" }
func (outlookTask) Ready() <-chan struct{} { return atOnce() }

// Run asks until ctx ends, which is no error.
func (t outlookTask) Run(ctx context.Context) error {
	if t.every <= 0 {
		<-ctx.Done()
		return nil
	}
	book, problem := outlook{}, ""
	wait := jitter(min(t.every, outlookAgain))
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		said, err := t.look(ctx)
		if ctx.Err() != nil {
			return nil
		}
		wait = t.every + jitter(t.every)
		if errors.Is(err, errShutdown) {
			continue
		}
		if err != nil && !errors.Is(err, errStandby) {
			if text := err.Error(); text != problem {
				t.cannotTell(err)
				problem = text
			}
			wait = min(t.every, outlookAgain)
			continue
		}
		problem = ""
		for _, v := range book.take(said) {
			logNews(t.log, v)
		}
		if err := t.tell(ctx, book.line()); err != nil {
			return nil // the daemon ends
		}
	}
}

// cannotTell says why nothing is known. A node without a cluster manager needs nobody's attention.
func (t outlookTask) cannotTell(err error) {
	log := t.log.WithError(err)
	if errors.Is(err, errNoManager) {
		log.Info("it cannot be told which guests would move live")
		return
	}
	log.Warn("it cannot be told which guests would move live")
}

// errStandby is why nothing is asked: the node is being emptied, or is empty.
var errStandby = errors.New("the node is in standby")

// look asks once. While the manager is at work on a guest, what it would do next is not what it would do in a minute;
// and while a guest leaves, the questions would keep its clients waiting.
func (t outlookTask) look(ctx context.Context) ([]hbplugin.Verdict, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, outlookMost, fmt.Errorf("no answer within %v", outlookMost))
	defer cancel()
	for try := 1; ; try++ {
		last := try == settleTries
		if last || !t.busy() {
			seen, err := look(ctx, t.teller.managers())
			switch {
			case err != nil:
				return nil, err
			case seen.standby:
				return nil, errStandby
			case !seen.busy || last:
				return t.teller.ask(ctx, seen.running)
			}
		}
		select {
		case <-time.After(settleWait):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// jitter is a random part of a wait.
func jitter(wait time.Duration) time.Duration { return rand.N(wait/outlookShare + 1) }

// outlook is the last verdict of each guest.
type outlook map[string]hbplugin.Verdict

// take replaces the verdicts, and returns those that an operator has not been told yet, by guest: a guest would not
// move live, or for another reason than before, or it would again.
func (o outlook) take(said []hbplugin.Verdict) []hbplugin.Verdict {
	var out []hbplugin.Verdict
	old := maps.Clone(o)
	clear(o)
	for _, v := range said {
		before, known := old[v.Resource]
		switch {
		case v.Fate.KeepsRunning() && (!known || before.Fate.KeepsRunning()):
		case v.Fate == hbplugin.Untold && before.Fate == hbplugin.Untold: // the words of an error may differ each time
		case !v.Fate.KeepsRunning() && before.Fate == v.Fate && before.Why == v.Why && before.Remedy == v.Remedy:
		default:
			out = append(out, v)
		}
		o[v.Resource] = v
	}
	slices.SortFunc(out, func(a, b hbplugin.Verdict) int { return cmp.Compare(a.Resource, b.Resource) })
	return out
}

// logNews tells an operator of a verdict.
func logNews(log logrus.FieldLogger, v hbplugin.Verdict) {
	log = log.WithFields(logrus.Fields{"guest": v.Resource, "verdict": string(v.Fate)})
	for name, text := range map[string]string{"why": v.Why, "remedy": v.Remedy} {
		if text != "" {
			log = log.WithField(name, text)
		}
	}
	switch {
	case v.Fate.KeepsRunning():
		log.Infof("guest %s would move live again at a shutdown of this node", v.Resource)
	case v.Fate == hbplugin.Untold:
		log.Warnf("guest %s: %s whether it would move live at a shutdown of this node", v.Resource, hbplugin.Untold)
	default:
		log.Warnf("guest %s would not move live at a shutdown of this node: it %s", v.Resource, verdict.Words(v))
	}
}

// line is the outlook in a status line; empty where all would move live.
func (o outlook) line() string {
	not, untold := 0, 0
	for _, v := range o {
		switch {
		case v.Fate.KeepsRunning():
		case v.Fate == hbplugin.Untold:
			untold++
		default:
			not++
		}
	}
	var parts []string
	if not > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d guests would not move live", not, len(o)))
	}
	if untold > 0 {
		parts = append(parts, fmt.Sprintf("of %d of %d guests it cannot be told", untold, len(o)))
	}
	if len(parts) == 0 {
		return ""
	}
	return strings.Join(parts, ", ") + ": see journalctl -u vmferryd"
}
