package resource

import (
	"context"
	"slices"
	"time"

	"github.com/vmferry/vmferry/resource/ocf"
	"github.com/vmferry/vmferry/resource/param"
	"github.com/vmferry/vmferry/resource/timely"
)

const (
	// utilizationTime bounds what an action spends on it.
	utilizationTime = 5 * time.Second
	// utilizationAge is how long a guest has been here before its attributes are set: at first the guest's services
	// need the time. And each value is a change of Pacemaker's configuration, for which it plans again, best not while
	// it is still starting what a crashed node left.
	utilizationAge = 30 * time.Second
)

// tidyUtilization removes attributes of a guest that is not here, and returns how the action ended. One that Pacemaker
// has stopped because they fit on no node has no monitor that could: what remains are its stop, and the probes of
// crm_resource --refresh.
func (a *run) tidyUtilization(ctx context.Context, end error) error {
	u := newUtilization(a)
	away := a.action == "stop" && end == nil || a.isMonitor() && a.Probe && ocf.CodeOf(end) == ocf.NotRunning
	switch {
	case !away || !slices.ContainsFunc(u.Attributes, func(a param.Utilization) bool { return a.Remove }):
	case a.Command == nil:
		return ErrMore
	default:
		ctx, cancel := timely.Within(ctx, utilizationTime)
		defer cancel()
		u.Unset(ctx)
	}
	return end
}
