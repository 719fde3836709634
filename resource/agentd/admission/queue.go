package admission

import (
	"context"
	"slices"

	"github.com/vmferry/vmferry/migrate"
)

// Queue is the daemon's queue behind a socket, as package migrate wants it. base has what the engine does not
// know of the guest: its resource, its priority, and what may be done with it when it cannot move, as its Ladder.
func Queue(socket string, base Request) migrate.Queue {
	return func(ctx context.Context, w migrate.AdmissionRequest, waiting func()) (migrate.Admission, error) {
		turn, err := Enter(ctx, socket, base.with(w), waiting, w.Measured)
		if err != nil {
			return nil, err // not turn: a nil *Turn is a Turn that is not nil
		}
		return turn, nil
	}
}

// with is the whole request for one move.
func (r Request) with(w migrate.AdmissionRequest) Request {
	r.Guest, r.UUID, r.Target = w.Guest, w.UUID, w.Target
	r.Ladder = append(slices.Clone(w.Rungs), r.Ladder...)
	r.Deadline, r.Rate, r.Most, r.SetUp, r.Load = w.Deadline, w.Rate, w.Most, w.SetUp, Load(w.Load)
	return r
}
