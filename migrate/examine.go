package migrate

import (
	"context"
	"errors"
)

// Examination is what the pre-flight of a move found. Nothing was changed.
type Examination struct {
	Refusals []*Refusal // why the move would be refused; empty where it would be begun
	With     []string   // what goes along with the guest or stays behind, in words
	Notes    []string   // what could not be checked, and what a reader should know
}

// Examine runs the whole pre-flight of the move that req describes, without the move. Unlike [Move] it goes on after a
// refusal, so that an operator sees everything that is in the way. The error is why it could not be
// examined at all: the end of ctx, or a guest that is not at the source.
func Examine(ctx context.Context, req Request, deps Deps) (Examination, error) {
	m := newMover(req, deps)
	defer m.target.close()
	defer m.source.close()
	_, err := m.preflight(ctx)
	x := Examination{Notes: m.rec.Notes}
	var refusal *Refusal
	if errors.As(err, &refusal) {
		x.Refusals = append(x.Refusals, refusal)
		return x, nil
	}
	return x, err
}
