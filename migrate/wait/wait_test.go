package wait

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestFor(t *testing.T) {
	for name, test := range map[string]struct {
		ctxEnds, d, took time.Duration
		want             error
	}{
		"the time passes":           {time.Minute, time.Second, time.Second, nil},
		"the context ends":          {time.Second, time.Minute, time.Second, context.DeadlineExceeded},
		"the context has ended":     {-1, time.Minute, 0, context.DeadlineExceeded},
		"nothing to wait for":       {time.Second, 0, 0, nil},
		"no time, an ended context": {-1, -1, 0, context.DeadlineExceeded},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), test.ctxEnds)
			defer cancel()
			begun := time.Now()
			err := For(ctx, test.d)
			if took := time.Since(begun); !errors.Is(err, test.want) || took != test.took {
				t.Errorf("%s: %v after %s, want %v after %s", name, err, took, test.want, test.took)
			}
		})
	}
}
