package verdict

import (
	"context"
	"slices"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/resource"
	"github.com/vmferry/vmferry/resource/notes"
)

// Manager is a cluster manager that can be asked beforehand.
type Manager interface {
	hbplugin.Forecaster
	// Peers lists the other nodes of the cluster.
	Peers(ctx context.Context) ([]resource.Peer, error)
}

// For is the Asker of a cluster manager. open connects to the libvirt at a URI, and run runs Pacemaker's program that
// tells a node's address; see [resource.AddressOf].
func For(m Manager, open func(ctx context.Context, uri string) (endpoint.Host, error), run resource.Command) Asker {
	return Asker{
		Forecast: m.Forecast,
		Candidates: func(ctx context.Context) ([]string, error) {
			peers, err := m.Peers(ctx)
			return hbplugin.Up(peers), err
		},
		Request: func(ctx context.Context, g Guest, node string) (migrate.Request, error) {
			return request(ctx, g, node, run)
		},
		Examine: func(ctx context.Context, req migrate.Request) (migrate.Examination, error) {
			return migrate.Examine(ctx, req, migrate.Deps{Open: open})
		},
	}
}

// request is the move that the agent would make. Where a node has no address of its own its name stands for it, as the
// agent does it.
func request(ctx context.Context, g Guest, node string, run resource.Command) (migrate.Request, error) {
	to, err := resource.RouteTo(ctx, g.Params, run, node)
	if err != nil {
		return migrate.Request{}, err
	}
	return g.Params.Move(g.Name, g.UUID, to).Request, nil
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
				out = append(out, Guest{Resource: c.Resource, Name: n.Guest, UUID: n.UUID,
					Params: c.Environ.Params, Problems: c.Environ.Problems, Ruled: c.Ruled})
			}
		}
	}
	return out
}
