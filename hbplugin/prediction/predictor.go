package prediction

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/managers"
	"github.com/vmferry/vmferry/hbplugin/shutdown"
	"github.com/vmferry/vmferry/hbplugin/verdict"
	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/record"
	"github.com/vmferry/vmferry/resource/command"
	"github.com/vmferry/vmferry/resource/notes"
)

// shutdownMargin is what a prediction keeps of the time that a shutdown gives it, so that the last one serves where no
// new one comes.
const shutdownMargin = 500 * time.Millisecond

// Sources are what a prediction is made of.
type Sources struct {
	Managers func() []hbplugin.Cluster // new ones for each call: each serves one goroutine
	Notes    func() ([]notes.Guest, error)
	Here     func(ctx context.Context) ([]string, error) // the resources whose guests have a process here
	Records  func() ([]record.Record, error)
	Open     func(ctx context.Context, uri string) (endpoint.Host, error)
	Run      command.Runner // for the program that tells a node's address
}

// Predictor predicts what becomes of the guests of this node when the node is drained. Its methods may be called from
// several goroutines at once.
type Predictor struct {
	from Sources

	mu    sync.Mutex
	stop  context.CancelCauseFunc // ends the questions to the targets; nil where none are asked
	last  prediction
	known map[string]notes.Guest // the last note of each resource, which goes when the guest leaves
}

// New makes one that has predicted nothing yet.
func New(from Sources) *Predictor { return &Predictor{from: from, known: map[string]notes.Guest{}} }

// prediction is what was predicted at one time.
type prediction struct {
	forecast []hbplugin.Verdict // by the manager alone
	verdicts []hbplugin.Verdict // by the manager and the target
}

// errShutdown is why questions to the targets were given up: the drain needs the machine.
var errShutdown = errors.New("a shutdown has begun")

// Predict asks the managers from and the targets what would become of each guest. It takes as long as the slowest
// target, within ctx, and ends with errShutdown when a shutdown begins.
func (p *Predictor) Predict(ctx context.Context, from []hbplugin.Cluster) ([]hbplugin.Verdict, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p.mu.Lock()
	p.stop = cancel
	p.mu.Unlock()
	now, err := p.predict(ctx, from)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stop = nil
	switch {
	case errors.Is(context.Cause(ctx), errShutdown):
		return nil, errShutdown
	case err != nil:
		return nil, err
	}
	p.last = now
	return now.verdicts, nil
}

func (p *Predictor) predict(ctx context.Context, from []hbplugin.Cluster) (now prediction, err error) {
	for _, m := range from {
		claims, err := m.Claims(ctx)
		if err != nil {
			return now, err
		}
		forecast, err := m.Forecast(ctx)
		if err != nil {
			return now, err
		}
		// After the forecast: a guest that it has, and that has started just now, is noted by then.
		noted, err := p.readNotes()
		if err != nil {
			return now, err
		}
		asker := verdict.For(m, p.from.Open, p.from.Run)
		asker.Forecast = func(context.Context) ([]hbplugin.Verdict, error) { return slices.Clone(forecast), nil }
		now.forecast = append(now.forecast, forecast...)
		verdicts := asker.Ask(ctx, verdict.Guests(claims, noted))
		now.verdicts = append(now.verdicts, verdict.Foreign(verdicts, forecast, claims, noted)...)
	}
	now.verdicts = append(now.verdicts, p.adrift(ctx, now.verdicts)...)
	return now, nil
}

// adrift are the verdicts of guests that run here without a resource, beside those that the managers have. Where that
// is not known there are none: a drain takes them for guests that may move.
func (p *Predictor) adrift(ctx context.Context, verdicts []hbplugin.Verdict) (out []hbplugin.Verdict) {
	names, err := p.from.Here(ctx)
	names = slices.DeleteFunc(names, func(name string) bool {
		return slices.ContainsFunc(verdicts, func(v hbplugin.Verdict) bool { return v.Resource == name })
	})
	if err != nil || len(names) == 0 {
		return nil
	}
	claims, err := p.Claims(ctx)
	if err != nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, name := range shutdown.Adrift(names, claims) {
		out = append(out, hbplugin.Verdict{Resource: name, Fate: hbplugin.Stays,
			Why: "its resource was deleted while it ran", Remedy: verdict.ByHand(p.known[name].Guest)})
	}
	return out
}

// readNotes reads the agent's notes, and remembers them.
func (p *Predictor) readNotes() ([]notes.Guest, error) {
	noted, err := p.from.Notes()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range noted {
		p.known[n.Resource] = n
	}
	return noted, err
}

// AtShutdown asks the managers again, which takes them a fraction of a second; the targets' answers are those of the
// last time. With an error it returns the last prediction.
func (p *Predictor) AtShutdown(ctx context.Context) ([]hbplugin.Verdict, error) {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-shutdownMargin))
		defer cancel()
	}
	_, _ = p.readNotes() // what is missing is missing in the account alone
	p.mu.Lock()
	last := p.last
	if p.stop != nil {
		p.stop(errShutdown)
	}
	p.mu.Unlock()
	seen, err := managers.Look(ctx, p.from.Managers())
	if errors.Is(err, managers.ErrNone) {
		return nil, nil // the drain says so
	}
	if err != nil {
		return last.verdicts, err
	}
	var fresh []hbplugin.Verdict
	for _, m := range seen.Managers {
		verdicts, err := m.Forecast(ctx)
		if err != nil {
			return last.verdicts, err
		}
		fresh = append(fresh, verdicts...)
	}
	return refresh(fresh, last), nil
}

// refresh joins a new forecast with the last verdicts: where the manager says what it verdicts then, the target's
// answer of then holds.
func refresh(fresh []hbplugin.Verdict, last prediction) []hbplugin.Verdict {
	out := slices.Clone(fresh)
	for i, v := range out {
		of := func(o hbplugin.Verdict) bool { return o.Resource == v.Resource }
		then, now := slices.IndexFunc(last.forecast, of), slices.IndexFunc(last.verdicts, of)
		if then < 0 || now < 0 {
			continue
		}
		if f := last.forecast[then]; f.Fate == v.Fate && f.To == v.To && f.Why == v.Why {
			out[i] = last.verdicts[now]
		}
	}
	return out
}

// Claims are the resources that the managers which run here are configured to run, wherever they are.
func (p *Predictor) Claims(ctx context.Context) ([]hbplugin.Claim, error) {
	seen, err := managers.Look(ctx, p.from.Managers())
	if err != nil {
		return nil, err
	}
	var all []hbplugin.Claim
	for _, m := range seen.Managers {
		claims, err := m.Resources(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, claims...)
	}
	return all, nil
}

// Trace is what is known of guests since a drain began: the records of this node, and where Pacemaker has each now.
func (p *Predictor) Trace(ctx context.Context, guests []string, since time.Time) map[string]verdict.Trace {
	places, lost := p.places(ctx)
	records, err := p.from.Records()
	lost = cmp.Or(lost, err)
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[string]verdict.Trace{}
	for _, g := range guests {
		out[g] = verdict.Trace{Node: places.Node, Lost: lost, Nodes: places.On[g],
			Records: recordsOf(g, p.known[g], records, since)}
	}
	return out
}

// recordsOf are the records of a guest that ended since then. Without a note of it, the guest has the resource's name.
func recordsOf(name string, note notes.Guest, records []record.Record, since time.Time) (out []record.Record) {
	guest := cmp.Or(note.Guest, name)
	for _, r := range records {
		same := r.Guest == guest
		if note.UUID != "" && r.UUID != "" {
			same = strings.EqualFold(note.UUID, r.UUID)
		}
		if same && !r.Ended.Before(since) {
			out = append(out, r)
		}
	}
	return out
}

// places is where the resources are, by the first manager that knows. Heartbeat does not know.
func (p *Predictor) places(ctx context.Context) (none hbplugin.Places, err error) {
	seen, err := managers.Look(ctx, p.from.Managers())
	if err != nil {
		return none, err
	}
	for _, m := range slices.Backward(seen.Managers) { // the error that is left is the first one's
		var known hbplugin.Places
		if known, err = m.Places(ctx); err == nil {
			return known, nil
		}
	}
	return none, err
}
