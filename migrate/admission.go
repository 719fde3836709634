package migrate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vmferry/vmferry/migrate/drain"
	"github.com/vmferry/vmferry/migrate/predict"
	"github.com/vmferry/vmferry/migrate/qmp"
	"github.com/vmferry/vmferry/migrate/slot"
)

// CheckWindow is the check of a [preflight.Refusal] for lack of time: the guest may still be
// shut down and started elsewhere.
const CheckWindow = "window"

// PhaseSlot is the phase in which a move waits for admission, and has asked nothing yet.
const PhaseSlot = "waiting for slot"

// admitter is what a move has of the link: what a queue granted, and its slot always. The
// slot is what keeps those who came through the queue and those who did not apart.
type admitter struct {
	*account
	queue   Queue // nil where there is none
	slots   slot.Pool
	shorten func(deadline time.Time) // applies the queue's deadline

	granted Admission       // nil without a queue
	giveUp  <-chan struct{} // closed when the queue takes it back; nil without one
	slot    *slot.Slot
}

// admit waits for the queue, where there is one, and then for a slot.
func (a *admitter) admit(ctx context.Context, r AdmissionRequest) (err error) {
	defer a.step("slot")()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if a.granted, err = a.enter(ctx, r); err != nil {
		return err
	}
	a.slots.Most = max(slot.MostAtOnce, a.slots.N)
	if a.granted != nil {
		a.slots.N, a.giveUp = min(max(a.granted.AtOnce(), 1), slot.MostAtOnce), a.granted.GiveUp()
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
func (a *admitter) isShared() bool { return a.slots.Shared(a.slot) }

// copied lets the next one begin. Without a queue that waits for the end of the move.
func (a *admitter) copied(t qmp.Timeline) {
	if a.granted != nil {
		a.slot.Release()
		a.granted.Copied(*cmp.Or(t.Pause, new(time.Duration)))
	}
}

func (a *admitter) release() {
	a.slot.Release()
	if a.granted != nil {
		a.granted.Release()
	}
}

func (a *admitter) waiting() { a.report(PhaseSlot) }

// enter asks the queue; nil without one.
func (a *admitter) enter(ctx context.Context, r AdmissionRequest) (Admission, error) {
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
			a.note(fmt.Sprintf("the migration queue was lost after %v, and the move continues without it: %v",
				waited, err))
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

// update reports to the queue, where there is one, what was learnt of the guest's load since.
func (a *admitter) update(l predict.Load) {
	if a.granted != nil {
		a.granted.Update(l)
	}
}
