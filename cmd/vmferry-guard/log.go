package main

import (
	"bytes"
	"io"
	"sync/atomic"
	"time"
)

// lines writes what is logged in a goroutine of its own: a journal that hangs, as it does with the storage that it is
// on, must not hold up what kills guests. What does not fit is dropped.
type lines struct {
	queue   chan []byte
	pending atomic.Int64 // lines that are not written yet
}

// newLines writes to a stream.
func newLines(to io.Writer) *lines {
	l := &lines{queue: make(chan []byte, 256)}
	go func() {
		for line := range l.queue {
			_, _ = to.Write(line)
			l.pending.Add(-1)
		}
	}()
	return l
}

// Write implements io.Writer. It never waits.
func (l *lines) Write(p []byte) (int, error) {
	l.pending.Add(1)
	select {
	case l.queue <- bytes.Clone(p):
	default:
		l.pending.Add(-1)
	}
	return len(p), nil
}

// flush waits until all lines are written, a second at most: for the end of the program.
func (l *lines) flush() {
	for end := time.Now().Add(time.Second); l.pending.Load() > 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
}
