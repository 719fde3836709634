package main

import (
	"encoding/binary"
	"errors"
	"os"
	"syscall"
	"time"
)

const (
	// rewriteEvery is between two bursts of writes: short enough that a migration
	// sees an even rate, long enough to leave the processor to others.
	rewriteEvery = 10 * time.Millisecond
	// longestDebt is how much of lost time is made up for at most. A guest that was
	// stopped must not write in one burst what it did not write meanwhile.
	longestDebt = 100 * time.Millisecond
)

// startRewriting takes the working set's memory, fills it with what cannot be
// compressed, as far as cfg wants that, and begins to rewrite it.
func startRewriting(cfg config) error {
	set, err := syscall.Mmap(-1, 0, cfg.dirtySet<<20, syscall.PROT_READ|syscall.PROT_WRITE,
		syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return errors.New("take memory to rewrite: " + err.Error())
	}
	page := os.Getpagesize()
	noise(set, page, cfg.noise)
	r := &rewriter{set: set, page: page, rate: cfg.dirty << 20, last: time.Now()}
	go func() {
		for {
			time.Sleep(rewriteEvery)
			r.until(time.Now())
		}
	}()
	return nil
}

// noise fills so many per cent of each page.
func noise(set []byte, page, percent int) {
	for at := 0; at+page <= len(set); at += page {
		fill(set[at:at+page*percent/100], uint64(at))
	}
}

// fill writes noise (Marsaglia's xorshift), another for every seed: a page of zeroes would cost a
// migration nothing.
func fill(set []byte, seed uint64) {
	for x := 88172645463325252 + seed; len(set) >= 8; set = set[8:] {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		binary.LittleEndian.PutUint64(set, x)
	}
}

// rewriter changes a word of one page after the other, round and round: for a
// migration that is the whole page.
type rewriter struct {
	set  []byte
	page int // bytes of a page
	rate int // bytes per second
	last time.Time
	debt time.Duration // time that is not yet worth a whole page
	next int           // offset of the next page in set
	sum  uint64        // pages written so far
}

// until writes what has become due since the last call.
func (r *rewriter) until(now time.Time) {
	r.debt = min(r.debt+max(now.Sub(r.last), 0), longestDebt)
	r.last = now
	each := time.Second * time.Duration(r.page) / time.Duration(r.rate)
	for ; r.debt >= each; r.debt -= each {
		r.sum++
		binary.LittleEndian.PutUint64(r.set[r.next:], r.sum)
		r.next += r.page
		if r.next+r.page > len(r.set) {
			r.next = 0
		}
	}
}
