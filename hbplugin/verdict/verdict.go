package verdict

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/preflight"
	"github.com/vmferry/vmferry/resource/command"
	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/param"
)

const (
	// atOnce is how many guests are examined at the same time: each has a connection to both ends.
	atOnce = 4
	// examineTime bounds one examination. A libvirtd that was just started takes most of a minute to report its
	// capabilities.
	examineTime = time.Minute
)

// Guest is a guest of this node that the cluster manager has.
type Guest struct {
	Resource string // the manager's name of it
	Name     string // libvirt's name of it
	UUID     string // empty where it is not known
	Params   param.Params
	Problems []param.Problem // what keeps the agent from migrating it, of its parameters
	Ruled    []string        // what a rule of the manager's decides: see [hbplugin.Claim]
}

// GuestOf is the guest of a claim, with what libvirt calls it.
func GuestOf(c hbplugin.Claim, name, uuid string) Guest {
	return Guest{Resource: c.Resource, Name: name, UUID: uuid, Params: c.Environ.Params, Problems: c.Environ.Problems,
		Ruled: c.Ruled}
}

// Asker asks for the two words that a verdict is made of.
type Asker struct {
	// Forecast is the manager's word; see [hbplugin.Cluster].
	Forecast func(ctx context.Context) ([]hbplugin.Verdict, error)
	// Candidates are the nodes that are up besides this one; those of them that the manager has left for a guest
	// (Verdict.Others) are examined where its first choice could not start it. nil where nobody knows them.
	Candidates func(ctx context.Context) ([]string, error)
	// Request is the move of a guest to a node, just as the agent would make it.
	Request func(ctx context.Context, g Guest, node string) (migrate.Request, error)
	// Examine is the target's word: normally [migrate.Examine] with the program's own connections.
	Examine func(ctx context.Context, req migrate.Request) (migrate.Examination, error)
}

// Ask returns a verdict for each guest that the manager has here, in the manager's order. guests says what
// libvirt calls them; the verdict of a resource that is not among them, or that nobody knows, is Unknown and
// says why. So is each guest's when ctx ends.
func (a Asker) Ask(ctx context.Context, guests []Guest) []hbplugin.Verdict {
	said, err := a.Forecast(ctx)
	if err != nil {
		said = make([]hbplugin.Verdict, len(guests))
		for i, g := range guests {
			said[i] = hbplugin.Verdict{Resource: g.Resource, Fate: hbplugin.Unknown, Why: err.Error()}
		}
		return said
	}
	var others []string
	if a.Candidates != nil {
		// Without an answer a guest that the chosen node cannot start has no place, as far as is known.
		others, _ = a.Candidates(ctx)
	}
	slots := make(chan struct{}, atOnce)
	var wait sync.WaitGroup
	for i := range said {
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			said[i] = a.judge(ctx, said[i], guests, others)
		})
	}
	wait.Wait()
	return said
}

// judge asks the nodes about one guest. The others are asked only where the chosen one could not start it.
func (a Asker) judge(ctx context.Context, said hbplugin.Verdict, guests []Guest, others []string) hbplugin.Verdict {
	i := slices.IndexFunc(guests, func(g Guest) bool { return g.Resource == said.Resource })
	live := said.Fate.KeepsRunning()
	switch {
	case said.To == "", i < 0 && !live:
		return said
	case i < 0:
		said.Fate, said.Why = hbplugin.Unknown, "libvirt on this node does not list its guest"
		return said
	}
	g := guests[i]
	answers := map[string]Answer{said.To: a.ask(ctx, g, said.To, live)}
	if v := Decide(said, g, answers); v.Fate != hbplugin.Stops {
		return v
	}
	for _, node := range others {
		if slices.Contains(said.Others, node) {
			answers[node] = a.ask(ctx, g, node, false)
		}
	}
	return Decide(said, g, answers)
}

// ask examines one node. For a guest that is started there and not moved, no disk is copied.
func (a Asker) ask(ctx context.Context, g Guest, node string, live bool) Answer {
	ctx, cancel := context.WithTimeoutCause(ctx, examineTime, fmt.Errorf("no answer within %v", examineTime))
	defer cancel()
	req, err := a.Request(ctx, g, node)
	if err != nil {
		return Answer{Err: err}
	}
	if !live {
		req.Disks, req.Options.CopyAll, req.Options.CopyInc = preflight.DisksShared, false, false
	}
	x, err := a.Examine(ctx, req)
	return Answer{Examination: x, Err: err}
}

// saves reports whether a guest that cannot be moved live is saved and restored.
func (g Guest) saves() bool {
	return g.Params.SaveDir != "" && g.Params.Ladder.Saves()
}

// For is the Asker of a cluster manager. open connects to the libvirt at a URI, and run runs Pacemaker's program that
// tells a node's address; see [route.Config.Address]. The request is the move that the agent would make: where a node
// has no address of its own its name stands for it.
func For(
	m hbplugin.Cluster, open func(ctx context.Context, uri string) (endpoint.Host, error), run command.Runner,
) Asker {
	return Asker{
		Forecast: m.Forecast,
		Candidates: func(ctx context.Context) ([]string, error) {
			peers, err := m.Peers(ctx)
			return hbplugin.Up(peers), err
		},
		Request: func(ctx context.Context, g Guest, node string) (migrate.Request, error) {
			to, err := g.Params.RouteTo(ctx, run, node)
			if err != nil {
				return migrate.Request{}, err
			}
			return g.Params.Move(g.Name, g.UUID, to).Request, nil
		},
		Examine: func(ctx context.Context, req migrate.Request) (migrate.Examination, error) {
			return migrate.Examine(ctx, req, migrate.Deps{Open: open})
		},
	}
}

// Foreign puts the manager's word, of said, in place of the verdicts of guests that another agent runs and of which
// there is no note: what libvirt calls them is not known, so that no target was asked.
func Foreign(verdicts, said []hbplugin.Verdict, claims []hbplugin.Claim, noted []notes.Guest) []hbplugin.Verdict {
	for i, v := range verdicts {
		foreign := slices.ContainsFunc(claims,
			func(c hbplugin.Claim) bool { return c.Resource == v.Resource && c.Foreign() })
		known := slices.ContainsFunc(noted, func(n notes.Guest) bool { return n.Resource == v.Resource })
		if j := slices.IndexFunc(said, func(o hbplugin.Verdict) bool { return o.Resource == v.Resource }); foreign &&
			!known && j >= 0 {
			verdicts[i] = said[j]
		}
	}
	return verdicts
}

// Guests are the guests of this node among a manager's claims, by what the agent noted when they came here. A
// guest without a note is left out: its verdict says that it is not known.
func Guests(claims []hbplugin.Claim, noted []notes.Guest) []Guest {
	var out []Guest
	for _, c := range claims {
		for _, n := range noted {
			if n.Resource == c.Resource {
				out = append(out, GuestOf(c, n.Guest, n.UUID))
			}
		}
	}
	return out
}
