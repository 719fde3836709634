package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"
)

// steps shows what a long command is doing: on a terminal one line that is
// rewritten, with the seconds running; elsewhere a line for each step.
type steps struct {
	out   io.Writer
	live  bool
	width int
	begun time.Time

	mu   sync.Mutex
	last string
	stop chan struct{}
	done chan struct{}
}

func newSteps(out *os.File) *steps {
	s := &steps{
		out: out, live: term.IsTerminal(int(out.Fd())), width: 80, begun: time.Now(),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	if w, _, err := term.GetSize(int(out.Fd())); err == nil && w > 20 {
		s.width = w
	}
	go s.run()
	return s
}

// say names the step that begins now.
func (s *steps) say(step string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if step == s.last {
		return
	}
	s.last = step
	s.draw()
	if !s.live {
		fmt.Fprintln(s.out)
	}
}

// draw writes the current step; the caller holds the lock.
func (s *steps) draw() {
	text := []rune(fmt.Sprintf("%5.0f s  %s", time.Since(s.begun).Seconds(), s.last))
	if !s.live {
		fmt.Fprint(s.out, string(text))
		return
	}
	fmt.Fprintf(s.out, "\r\x1b[K%s", string(text[:min(len(text), s.width-1)]))
}

// run keeps the seconds running on a terminal.
func (s *steps) run() {
	defer close(s.done)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
			s.mu.Lock()
			if s.live && s.last != "" {
				s.draw()
			}
			s.mu.Unlock()
		}
	}
}

// end leaves the last step standing.
func (s *steps) end() {
	close(s.stop)
	<-s.done
	if s.live && s.last != "" {
		fmt.Fprintln(s.out)
	}
}
