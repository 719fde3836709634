package verdict

import (
	"context"
	"slices"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/resource"
	"github.com/vmferry/vmferry/resource/notes"
)

// For is the Asker of a cluster manager. open connects to the libvirt at a URI, and run runs Pacemaker's program that
// tells a node's address; see [resource.AddressOf]. The request is the move that the agent would make: where a node has
// no address of its own its name stands for it.
func For(m hbplugin.Cluster, open func(ctx context.Context, uri string) (migrate.Host, error), run resource.Command) Asker {
	return Asker{
		Forecast: m.Forecast,
		Candidates: func(ctx context.Context) ([]string, error) {
			peers, err := m.Peers(ctx)
			return hbplugin.Up(peers), err
		},
		Request: func(ctx context.Context, g Guest, node string) (migrate.Request, error) {
			to, err := resource.RouteTo(ctx, g.Params, run, node)
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
