package main

import (
	"bytes"
	"compress/flate"
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
	fill(set, 0)
	for i := 0; i < len(set); i += 8 {
		if bytes.Count(set, set[i:i+8]) != 1 || bytes.Equal(set[i:i+8], make([]byte, 8)) {
			t.Errorf("the word at %d is no noise: %v", i, set[i:i+8])
		}
	}
}

// What is to be half noise must shrink to about half, and what is to be all noise not at all.
func TestFillCompresses(t *testing.T) {
	const page = 4096
	for _, percent := range []int{50, 100} {
		set := make([]byte, 16*page)
		noise(set, page, percent)
		var packed bytes.Buffer
		w, err := flate.NewWriter(&packed, flate.BestSpeed)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(set); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if got := 100 * packed.Len() / len(set); got < percent-2 || got > percent+2 {
			t.Errorf("%d per cent of noise shrink to %d per cent", percent, got)
		}
	}
}
