package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// hanging is a journal that takes one line and hangs.
type hanging struct{ until chan struct{} }

func (h hanging) Write(p []byte) (int, error) { <-h.until; return len(p), nil }

// A journal that hangs holds nobody up.
func TestAJournalThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun, journal := time.Now(), hanging{make(chan struct{})}
		l := newLines(journal)
		for i := range 1000 {
			fmt.Fprintln(l, "line", i)
		}
		if took := time.Since(begun); took != 0 {
			t.Errorf("to log took %s", took)
		}
		if l.flush(); time.Since(begun) > 2*time.Second {
			t.Errorf("to end took %s", time.Since(begun))
		}
		close(journal.until)
		close(l.queue)
	})
}

func TestLines(t *testing.T) {
	var out bytes.Buffer
	l := newLines(&out)
	for i := range 100 {
		fmt.Fprintln(l, "line", i)
	}
	l.flush()
	if text := out.String(); !strings.HasPrefix(text, "line 0\nline 1\n") || !strings.HasSuffix(text, "line 99\n") {
		t.Errorf("%q", text)
	}
}
