package migrate

import (
	"context"
	"errors"
	"fmt"

	"github.com/vmferry/vmferry/migrate/preflight"
)

// Examination is what the pre-flight of a move found. Nothing was changed.
type Examination struct {
	Refusals []*preflight.Refusal // why the move would be refused; empty where it would be begun
	With     []string             // what is copied with the guest or stays behind, in words
	Lacks    []string             // what a move copies or leaves out, and a start at the target would need, in words
	Notes    []string             // what could not be checked, and what a reader should know
}

// Examine runs the whole pre-flight of the move that req describes, without the move. Unlike [Move] it continues after
// a refusal, so that an operator sees everything that is in the way. It waits for no turn and no slot, and writes no
// record. Each question is bounded; together they take less than a second where both libvirts answer. The error is why
// it could not be examined at all: the end of ctx, or a guest that is not at the source.
func Examine(ctx context.Context, req Request, deps Deps) (x Examination, err error) {
	req.Adopt, req.Progress = false, nil
	m := newMover(req, deps)
	defer m.target.Close()
	defer m.source.Close()
	if err = m.req.check(); err == nil {
		var unable error
		m.req, m.without, unable = applyCapabilities(m.req, m.driver)
		err = m.preflight(ctx, true)
		m.warnUnsupported()
		x.Refusals = append(refusalIn(unable), m.found.Refusals...)
	} else {
		x.Refusals, err = refusalIn(err), nil
	}
	m.guard.Release()
	x.With, x.Lacks, x.Notes = m.found.With, m.found.Lacks, m.rec.Notes
	for _, c := range m.found.Copies {
		x.With = append(x.With, fmt.Sprintf("disk %s (%d MiB) is copied", c.Target, (c.Bytes+1<<20-1)>>20))
	}
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case m.found.Already:
		err = errors.New("it is at the target already")
	}
	if err != nil {
		err = fmt.Errorf("examine the move of guest %q to %q: %w", req.Guest, req.Target, err)
	}
	return x, err
}

func refusalIn(err error) []*preflight.Refusal {
	var r *preflight.Refusal
	if errors.As(err, &r) {
		return []*preflight.Refusal{r}
	}
	return nil
}
