package migrate

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/preflight"
	"github.com/vmferry/vmferry/migrate/record"
)

func TestMayTryNext(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{errLibvirt, true},
		{fmt.Errorf("%w: too slow", ErrHopeless), true},
		{fmt.Errorf("%w: %w", ErrUnknown, errLibvirt), false},
		{fmt.Errorf("%w, and was aborted", ErrOutOfTime), false},
		{fmt.Errorf("wait: %w", context.DeadlineExceeded), false},
		{context.Canceled, false},
		{&preflight.Refusal{Check: preflight.CheckMemory}, true},
		// it has an old copy, and the next may have none
		{&preflight.Refusal{Check: preflight.CheckDiskMove}, true},
		{&preflight.Refusal{Check: preflight.CheckTarget, Err: context.DeadlineExceeded}, true}, // it hangs, and the next may not
		{&preflight.Refusal{Check: preflight.CheckTarget, Err: libvirt.ErrConnect}, true},
		{&preflight.Refusal{Check: preflight.CheckRequest}, false},
		{&preflight.Refusal{Check: preflight.CheckSource}, false},
		{&preflight.Refusal{Check: preflight.CheckRunning}, false},
		{&preflight.Refusal{Check: preflight.CheckJob}, false},
	} {
		wrapped := c.err
		if wrapped != nil {
			wrapped = fmt.Errorf("move guest: %w", c.err)
		}
		if got := MayTryNext(wrapped); got != c.want {
			t.Errorf("after %v: %v, want %v", c.err, got, c.want)
		}
	}
}

// A target that dies in the middle leaves the guest where it is, and the next one takes it.
func TestNextTargetTakesTheGuest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		dies := true
		p.Source.Migrate = func(context.Context) error {
			p.Copy()
			if dies {
				p.Cancelled()
				return errLibvirt
			}
			p.Switchover()
			return nil
		}
		first, err := Move(t.Context(), p.req, p.deps)
		if !MayTryNext(err) || !errors.Is(err, errLibvirt) || first.Outcome != record.Stayed || p.copies() != 1 {
			t.Fatalf("outcome %q, runs at %d ends, %v", first.Outcome, p.copies(), err)
		}
		dies, p.req.Target = false, "node3"
		second, err := Move(t.Context(), p.req, p.deps)
		if err != nil || second.Outcome != record.Moved || second.To != "node3" || p.copies() != 1 {
			t.Errorf("outcome %q at %s, runs at %d ends, %v", second.Outcome, second.To, p.copies(), err)
		}
		if len(first.Rungs) != 1 || first.Rungs[0].Error == "" || len(second.Rungs) != 1 || second.Rungs[0].Error != "" {
			t.Errorf("rungs %+v and %+v", first.Rungs, second.Rungs)
		}
	})
}

// The record has the time of each rung that was climbed.
func TestRungs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newWriter(t, func(p *pair) error { p.whole(); return nil })
		rec, err := Move(t.Context(), p.req, p.deps)
		if err != nil || len(rec.Rungs) != 2 || rec.Rungs[0].Rung != "live" || rec.Rungs[1].Rung != "postcopy" ||
			rec.Rungs[0].MS <= 0 || rec.Rungs[1].MS < 2000 {
			t.Errorf("rungs %+v, %v", rec.Rungs, err)
		}
	})
}
