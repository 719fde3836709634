package migrate

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/vmferry/vmferry/migrate/convergence"
)

func TestRetry(t *testing.T) {
	full := attempt{throttle: 20, postCopy: true, connections: 4, compress: true, switchover: 50}
	delta := attempt{cache: 64 * mib, switchover: 50}
	refused := errors.New("unsupported capability")
	for _, c := range []struct {
		name  string
		f     failure
		want  attempt
		again bool
		plain bool
	}{
		{"failed while it sent", failure{attempt: full, err: refused}, attempt{}, false, false},
		{"refused, with nothing that could be left out",
			failure{attempt: attempt{throttle: 20, pace: 128}, err: refused, refused: true}, attempt{}, false, false},
		{"refused", failure{attempt: full, err: refused, refused: true}, attempt{throttle: 20}, true, true},
		{"XBZRLE refused", failure{attempt: delta, err: refused, refused: true}, attempt{}, true, true},
		{"XBZRLE refused, and a throttle is allowed", failure{attempt: delta, err: refused, refused: true, mayThrottle: true},
			attempt{throttle: convergence.ThrottleFirst}, true, true},
		{"a throttle is wanted", failure{attempt: attempt{connections: 4, pace: 128},
			err: fmt.Errorf("%w, and was aborted", &wantRestart{throttle: 45})},
			attempt{throttle: 45, connections: 4}, true, false},
		{"XBZRLE is wanted", failure{attempt: full, err: &wantRestart{cache: 64 * mib}, xbzrleLast: 70},
			attempt{throttle: 20, postCopy: true, cache: 64 * mib, switchover: 70}, true, false},
	} {
		got := c.f.retry()
		if (got != nil) != c.again || got != nil && (got.attempt != c.want || got.plain != c.plain || got.why == "") {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

func TestIsFinal(t *testing.T) {
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		ctx  context.Context
		err  error
		want bool
	}{
		{t.Context(), nil, true},
		{t.Context(), errLibvirt, false},
		{over, errLibvirt, true},
		{t.Context(), fmt.Errorf("%w, and was aborted", ErrOutOfTime), true},
		{t.Context(), fmt.Errorf("%w: slow", ErrHopeless), true},
		{t.Context(), ErrTargetSilent, true},
		{t.Context(), &wantRestart{throttle: 20}, false},
	} {
		if got := isFinal(c.ctx, c.err); got != c.want {
			t.Errorf("after %v: %t", c.err, got)
		}
	}
}
