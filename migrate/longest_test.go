package migrate

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/migrate/record"
)

// TestMoveKeepsTheLongestPause lets a guest not converge until its deadline.
func TestMoveKeepsTheLongestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.Source.Migrate = p.hang
		p.req.DowntimeLimit = 30 * time.Millisecond
		ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
		defer cancel()
		if rec, _ := Move(ctx, p.req, p.deps); rec.Outcome != record.Stayed {
			t.Errorf("outcome %q", rec.Outcome)
		}
		if most := slices.Max(p.Source.Limits); len(p.Source.Limits) < 2 || most > 15*time.Millisecond {
			t.Errorf("limits %v: want them raised, and none above 15 ms", p.Source.Limits)
		}
	})
}
