package client

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// Calls that hang are not joined by more and more.
func TestSparing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, hang := newConn("hanging:///"), make(chan struct{})
		open := Sparing(2, func(context.Context, string) (*Conn, error) { return c, nil })
		for i := range 3 {
			if _, err := open(t.Context(), c.uri); errors.Is(err, libvirt.ErrConnect) != (i == 2) {
				t.Errorf("after %d calls: %v", i, err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if _, err := call(ctx, c.session, "ask", "", func() (int, error) { <-hang; return 0, nil }); !errors.Is(err,
				context.DeadlineExceeded) {
				t.Error(err)
			}
			cancel()
		}
		if _, err := open(t.Context(), "other:///"); err != nil {
			t.Error(err)
		}
		<-time.After(hangAgain) // the host may have been switched off, and be up again
		if _, err := open(t.Context(), c.uri); err != nil {
			t.Error(err)
		}
		close(hang)
		synctest.Wait()
		if _, err := open(t.Context(), c.uri); err != nil {
			t.Error(err)
		}
	})
}
