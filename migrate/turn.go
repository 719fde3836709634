package migrate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vmferry/vmferry/migrate/drain"
	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/qmp"
)

// Wish is what a queue of moves is told of a guest that is to move.
type Wish struct {
	Guest, UUID, Target string

	Load drain.Load
	// Measured waits until the dirty rate was measured, and gives the load anew; not ok where there is
	// nothing new. It may be called from another goroutine, until the queue has answered.
	Measured func(ctx context.Context) (_ drain.Load, ok bool)

	Rate     float64       // bytes per second that the link to the target carries, 0 where that is not known
	Most     float64       // bytes per second that this move may take of it, 0 for all
	SetUp    time.Duration // of a migration, what is neither copying nor pause
	Rungs    []ladder.Rung // that the engine may take, from the gentlest on
	Deadline time.Time     // when the caller's time is up, zero without one
}

// Turn is what a queue of moves has granted. Its methods may be called from any goroutine.
type Turn interface {
	// AtOnce is how many moves may be under way, this one counted.
	AtOnce() int
	// Deadline is when the node must be empty, zero without one.
	Deadline() time.Time
	// GiveUp is closed when the move should be aborted, as this is the last moment for something else.
	GiveUp() <-chan struct{}
	// Update tells what was learnt of the guest's load since.
	Update(l drain.Load)
	// Copied tells that the guest has left, and the next one may begin. pause is for how long it stood still, 0
	// where that is not known.
	Copied(pause time.Duration)
	// Release gives the turn back. It may be called again.
	Release()
}

// Queue waits for a guest's turn among all that want to leave the node. The context bounds the wait
// and not the turn. waiting is called at most once, when others come first.
//
// A [drain.TooLate] is the error when the guest must not move. Any other means that there is no queue, or
// none any more, and the move goes on without.
type Queue func(ctx context.Context, w Wish, waiting func()) (Turn, error)

// CheckWindow is the check of a [Refusal] for want of time: the guest may still be
// shut down and started elsewhere.
const CheckWindow = "window"

// place is what a move has of the link: its turn where a queue gave one, and its slot always. The
// slot is what keeps those who came through the queue and those who did not apart.
type place struct {
	turn  Turn
	slots Slots
	slot  *Slot
}

// isShared tells whether others are under way as well.
func (p *place) isShared() bool { return p.slots.Shared(p.slot) }

// copied lets the next one begin. Without a queue that waits for the end of the move.
func (p *place) copied(t qmp.Timeline) {
	if p.turn != nil {
		p.slot.Release()
		p.turn.Copied(*cmp.Or(t.Pause, new(time.Duration)))
	}
}

func (p *place) release() {
	p.slot.Release()
	if p.turn != nil {
		p.turn.Release()
	}
}

// errGaveUp is why a move that had its turn was not begun all the same.
var errGaveUp = errors.New("its turn was taken back, as there is no time left for the move")

// takePlace waits until the move may begin.
func (m *mover) takePlace(ctx context.Context) (*place, error) {
	defer m.step("slot")()
	ctx, cancel := m.before(ctx)
	defer cancel()
	turn, err := m.takeTurn(ctx)
	if err != nil {
		return nil, err
	}
	p := &place{turn: turn}
	slots := m.deps.Slots
	slots.Most = max(MostAtOnce, slots.N)
	if turn != nil {
		slots.N, m.giveUp = min(max(turn.AtOnce(), 1), MostAtOnce), turn.GiveUp()
		go func() {
			select {
			case <-turn.GiveUp():
				cancel()
			case <-ctx.Done():
			}
		}()
	}
	p.slots = slots
	if p.slot, err = slots.Acquire(ctx, m.waiting); err != nil {
		p.release()
		return nil, m.orGaveUp(err)
	}
	return p, nil
}

func (m *mover) waiting() { m.report(PhaseSlot) }

// orGaveUp is err, or that the turn was taken back.
func (m *mover) orGaveUp(err error) error {
	select {
	case <-m.giveUp:
		return refuse(CheckWindow, "no migration slot came free", "", errGaveUp)
	default:
		return err
	}
}

// takeTurn asks the queue, where there is one. A migration that is under way already asks nobody.
func (m *mover) takeTurn(ctx context.Context) (Turn, error) {
	if m.deps.Queue == nil || m.req.Adopt {
		return nil, nil
	}
	asked := time.Now()
	turn, err := m.deps.Queue(ctx, m.wish(), m.waiting)
	waited := time.Since(asked).Round(time.Millisecond)
	var late *drain.TooLate
	switch {
	case errors.As(err, &late):
		return nil, refuse(CheckWindow, fmt.Sprintf("the queue of moves refused it after %v", waited), "", err)
	case ctx.Err() != nil:
		if err == nil {
			turn.Release()
		}
		return nil, m.noTurn(ctx, waited)
	case err != nil:
		m.log.WithError(err).Debug("there is no queue of moves: going by the slots alone")
		if waited >= time.Second {
			m.note(fmt.Sprintf("the queue of moves was lost after %v, and the move went on without: %v", waited, err))
		}
		return nil, nil
	}
	m.turn = turn
	m.note(fmt.Sprintf("waited %v in the queue of moves; %d may be under way at once", waited, turn.AtOnce()))
	if deadline := turn.Deadline(); !deadline.IsZero() {
		m.shorten(deadline)
	}
	return turn, nil
}

// noTurn is why the wait for a turn ended with ctx.
func (m *mover) noTurn(ctx context.Context, waited time.Duration) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return refuse(CheckWindow, fmt.Sprintf("others were before it for %v, which is all the time that it had", waited), "give it more, as by a longer timeout of the operation migrate_to", ctx.Err())
	}
	return fmt.Errorf("wait for its turn: %w", ctx.Err())
}

// wish is what is known of the guest by now. Its dirty rate is being measured: until that is done the
// guest is taken to be idle.
func (m *mover) wish() Wish {
	return Wish{
		Guest: m.req.Guest, UUID: m.uuid, Target: m.req.Target, Load: m.known.LoadWithin(m.budget()), Measured: m.awaitLoad,
		Rate: float64(m.known.Link.Bandwidth), Most: float64(m.req.Bandwidth << 20), SetUp: m.known.Link.SetUp(), Rungs: rungsOf(m.policy), Deadline: m.abortAt,
	}
}

// awaitLoad is a Wish's Measured. It has a connection of its own, and writes nothing of m's.
func (m *mover) awaitLoad(ctx context.Context) (drain.Load, bool) {
	if m.known.Load.Dirty.Measured || m.known.Ready.IsZero() || sleep(ctx, time.Until(m.known.Ready)) != nil {
		return drain.Load{}, false
	}
	own := endpoint.Endpoint{URI: m.source.URI, Open: m.source.Open}
	defer own.Close()
	if own.Connect(ctx, lookTime) != nil {
		return drain.Load{}, false
	}
	ctx, cancel := context.WithTimeout(ctx, sampleTime)
	defer cancel()
	known := m.known
	err := known.Refresh(ctx, own.Host, m.req.Guest)
	return known.LoadWithin(known.Budget), err == nil && known.Load.Dirty.Measured
}
