package timely

import (
	"context"
	"errors"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// Storage that hangs takes no more time than it is given.
func TestDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		err := Do(ctx, func() error { <-release; return nil })
		if took := time.Since(began); !errors.Is(err, ErrNoStorage) || took != 3*time.Second {
			t.Errorf("%v after %v", err, took)
		}
		if err := Do(t.Context(), func() error { return os.ErrNotExist }); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%v, want the error of what was done", err)
		}
	})
}

// What hangs on storage is counted until it ends.
func TestLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before, release := LeftBehind(), make(chan bool)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := Do(ctx, func() error { <-release; return nil }); !errors.Is(err, ErrNoStorage) {
			t.Error(err)
		}
		if n := LeftBehind() - before; n != 1 {
			t.Errorf("%d are left behind", n)
		}
		close(release)
		synctest.Wait()
		if n := LeftBehind() - before; n != 0 {
			t.Errorf("%d are left behind after they ended", n)
		}
	})
}
