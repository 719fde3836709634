package main

import (
	"bytes"
	"testing"
	"time"
)

func TestRewriter(t *testing.T) {
	const page = 16
	begin := time.Unix(1000, 0)
	r := &rewriter{set: make([]byte, 4*page+8), page: page, rate: 1000 * page, last: begin} // a page per millisecond
	for _, step := range []struct {
		name string
		at   time.Duration
		sum  uint64
		next int
	}{
		{"nothing is due yet", 900 * time.Microsecond, 0, 0},
		{"the rest of a page counts", 1100 * time.Microsecond, 1, page},
		{"three more", 4100 * time.Microsecond, 4, 0},
		{"round again", 6100 * time.Microsecond, 6, 2 * page},
		{"no burst after a stop", 10 * time.Second, 106, 2 * page},
		{"a clock that goes back", 9 * time.Second, 106, 2 * page},
	} {
		r.until(begin.Add(step.at))
		if r.sum != step.sum || r.next != step.next {
			t.Errorf("%s: %d pages, next at %d; want %d and %d", step.name, r.sum, r.next, step.sum, step.next)
		}
	}
	if !bytes.Equal(r.set[:8], []byte{105, 0, 0, 0, 0, 0, 0, 0}) {
		t.Errorf("the first page begins with %v", r.set[:8])
	}
}

func TestFill(t *testing.T) {
	set := make([]byte, 64)
	fill(set)
	for i := 0; i < len(set); i += 8 {
		if bytes.Count(set, set[i:i+8]) != 1 || bytes.Equal(set[i:i+8], make([]byte, 8)) {
			t.Errorf("the word at %d is no noise: %v", i, set[i:i+8])
		}
	}
}
