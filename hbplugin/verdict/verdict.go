package verdict

import (
	"context"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/resource"
)

// Guest is a guest of this node that the cluster manager has.
type Guest struct {
	Resource string // the manager's name of it
	Name     string // libvirt's name of it
	UUID     string // empty where it is not known
	Params   resource.Params
}

// Asker asks for the two words that a verdict is made of.
type Asker struct {
	// Forecast is the manager's word; see [hbplugin.Forecaster].
	Forecast func(ctx context.Context) ([]hbplugin.Verdict, error)
	// Examine is the target's: normally [migrate.Examine] with the program's own connections.
	Examine func(ctx context.Context, req migrate.Request) (migrate.Examination, error)
}

// Ask returns a verdict for each guest that the manager has here, in the manager's order. guests says what
// libvirt calls them; a resource that is not among them gets the manager's word alone, and Why says so. Where the
// manager gives no answer, each guest's verdict is Untold.
func (a Asker) Ask(ctx context.Context, guests []Guest) []hbplugin.Verdict {
	said, err := a.Forecast(ctx)
	if err != nil {
		return untold(guests, err)
	}
	return said
}

func untold(guests []Guest, err error) []hbplugin.Verdict {
	out := make([]hbplugin.Verdict, 0, len(guests))
	for _, g := range guests {
		out = append(out, hbplugin.Verdict{Resource: g.Resource, Fate: hbplugin.Untold, Why: err.Error()})
	}
	return out
}
