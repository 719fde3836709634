package migrate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vmferry/vmferry/migrate/drain"
	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/predict"
	"github.com/vmferry/vmferry/migrate/qmp"
)

// AdmissionRequest is what a queue of moves is told of a guest that is to move.
type AdmissionRequest struct {
	Guest, UUID, Target string

	Load predict.Load
	// Measured waits until the dirty rate was measured, and gives the load again; not ok where there is
	// nothing new. It may be called from another goroutine, until the queue has answered.
	Measured func(ctx context.Context) (_ predict.Load, ok bool)

	Rate     float64       // bytes per second that the link to the target carries, 0 where that is not known
	Most     float64       // bytes per second that this move may take of it, 0 for all
	SetUp    time.Duration // of a migration, what is neither copying nor pause
	Rungs    []ladder.Rung // that the engine may take, from the gentlest on
	Deadline time.Time     // when the caller's time is up, zero without one
}

// Admission is what a queue of moves has granted. Its methods may be called from any goroutine.
type Admission interface {
	// AtOnce is how many moves may be under way, this one counted.
	AtOnce() int
	// Deadline is when the node must be empty, zero without one.
	Deadline() time.Time
	// GiveUp is closed when the move should be aborted, as this is the last moment for something else.
	GiveUp() <-chan struct{}
	// Update says what was learnt of the guest's load since.
	Update(l predict.Load)
	// Copied reports that the guest has left, and the next one may begin. pause is for how long it was stopped, 0
	// where that is not known.
	Copied(pause time.Duration)
	// Release gives it back. It may be called again.
	Release()
}

// Queue waits until a guest is admitted among all that want to leave the node. The context bounds the wait
// and not the admission. waiting is called at most once, when others come first.
//
// A [drain.TooLate] is the error when the guest must not move. Any other means that there is no queue, or
// none any more, and the move continues without.
type Queue func(ctx context.Context, r AdmissionRequest, waiting func()) (Admission, error)

// CheckWindow is the check of a [Refusal] for lack of time: the guest may still be
// shut down and started elsewhere.
const CheckWindow = "window"

// PhaseSlot is the phase in which a move waits for admission, and has asked nothing yet.
const PhaseSlot = "waiting for slot"

// admission is what a move has of the link: what a queue granted, and its slot always. The
// slot is what keeps those who came through the queue and those who did not apart.
type admission struct {
	*account
	queue   Queue // nil where there is none
	slots   Slots
	shorten func(deadline time.Time) // takes over the queue's deadline

	granted Admission       // nil without a queue
	giveUp  <-chan struct{} // closed when the queue takes it back; nil without one
	slot    *Slot
}

// errGaveUp is why a move that was admitted was not begun all the same.
var errGaveUp = errors.New("the queue took the admission back, as there is no time left for the move")

// admit waits for the queue, where there is one, and then for a slot.
func (a *admission) admit(ctx context.Context, r AdmissionRequest) (err error) {
	defer a.step("slot")()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if a.granted, err = a.enter(ctx, r); err != nil {
		return err
	}
	a.slots.Most = max(MostAtOnce, a.slots.N)
	if a.granted != nil {
		a.slots.N, a.giveUp = min(max(a.granted.AtOnce(), 1), MostAtOnce), a.granted.GiveUp()
		go func() {
			select {
			case <-a.giveUp:
				cancel()
			case <-ctx.Done():
			}
		}()
	}
	if a.slot, err = a.slots.Acquire(ctx, a.waiting); err == nil {
		return nil
	}
	a.release()
	select {
	case <-a.giveUp:
		return refuse(CheckWindow, "no migration slot came free", "", errGaveUp)
	default:
		return err
	}
}

// isShared reports whether others are under way as well.
func (a *admission) isShared() bool { return a.slots.Shared(a.slot) }

// copied lets the next one begin. Without a queue that waits for the end of the move.
func (a *admission) copied(t qmp.Timeline) {
	if a.granted != nil {
		a.slot.Release()
		a.granted.Copied(*cmp.Or(t.Pause, new(time.Duration)))
	}
}

func (a *admission) release() {
	a.slot.Release()
	if a.granted != nil {
		a.granted.Release()
	}
}

func (a *admission) waiting() { a.report(PhaseSlot) }

// enter asks the queue; nil without one.
func (a *admission) enter(ctx context.Context, r AdmissionRequest) (Admission, error) {
	if a.queue == nil {
		return nil, nil
	}
	asked := time.Now()
	granted, err := a.queue(ctx, r, a.waiting)
	waited := time.Since(asked).Round(time.Millisecond)
	var late *drain.TooLate
	switch {
	case errors.As(err, &late):
		return nil, refuse(CheckWindow, fmt.Sprintf("the migration queue refused it after %v", waited), "", err)
	case ctx.Err() != nil:
		if err == nil {
			granted.Release()
		}
		return nil, timedOut(ctx, waited)
	case err != nil:
		a.log.WithError(err).Debug("no migration queue: going by the slots alone")
		if waited >= time.Second {
			a.note(fmt.Sprintf("the migration queue was lost after %v, and the move goes on without: %v", waited, err))
		}
		return nil, nil
	}
	a.note(fmt.Sprintf("waited %v in the migration queue; %d may be under way at once", waited, granted.AtOnce()))
	if deadline := granted.Deadline(); !deadline.IsZero() {
		a.shorten(deadline)
	}
	return granted, nil
}

// timedOut is why the wait in the queue ended with ctx.
func timedOut(ctx context.Context, waited time.Duration) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return refuse(CheckWindow, fmt.Sprintf("timed out in the migration queue after %v", waited),
			"give it more time, as by a longer timeout of the operation migrate_to", ctx.Err())
	}
	return fmt.Errorf("wait for admission: %w", ctx.Err())
}
