package migrate

import (
	"context"
	"errors"
	"fmt"
)

// Examination is what the pre-flight of a move found. Nothing was changed.
type Examination struct {
	Refusals []*Refusal // why the move would be refused; empty where it would be begun
	With     []string   // what goes along with the guest or stays behind, in words
	Lacks    []string   // what a move copies or leaves out, and a start at the target would need, in words
	Notes    []string   // what could not be checked, and what a reader should know
}

// Examine runs the whole pre-flight of the move that req describes, without the move. Unlike [Move] it goes on after a
// refusal, so that an operator sees everything that is in the way. It waits for no turn and no slot, and writes no
// record. Each question is bounded; together they take less than a second where both libvirts answer. The error is why
// it could not be examined at all: the end of ctx, or a guest that is not at the source.
func Examine(ctx context.Context, req Request, deps Deps) (Examination, error) {
	req.Adopt, req.Progress = false, nil
	m := newMover(req, deps)
	m.examines = true
	defer m.target.Close()
	defer m.source.Close()
	already, err := m.examine(ctx)
	m.guard.Release()
	x := Examination{Refusals: m.refusals, With: m.with, Lacks: m.lacks, Notes: m.rec.Notes}
	for _, c := range m.carried {
		x.With = append(x.With, fmt.Sprintf("disk %s (%d MiB) is copied", c.Target, mebibytes(c.Bytes)))
	}
	switch {
	case ctx.Err() != nil:
		return x, fmt.Errorf("examine the move of guest %q to %q: %w", req.Guest, req.Target, context.Cause(ctx))
	case already:
		return x, fmt.Errorf("examine the move of guest %q to %q: it is at the target already", req.Guest, req.Target)
	case err != nil:
		return x, fmt.Errorf("examine the move of guest %q to %q: %w", req.Guest, req.Target, err)
	}
	return x, nil
}

// examine is the pre-flight, with refusals kept. The error is why it came to no end.
func (m *mover) examine(ctx context.Context) (already bool, err error) {
	if err := m.req.check(); err != nil {
		return false, m.refuse(err)
	}
	if err := m.refuse(m.fit()); err != nil {
		return false, err
	}
	already, err = m.preflight(ctx)
	m.foretell()
	if m.rec.Outcome == Unknown && len(m.refusals) == 0 { // the guest was not seen here
		var r *Refusal
		if errors.As(err, &r) && r.Check == CheckRunning {
			return already, err
		}
	}
	return already, m.refuse(err)
}
