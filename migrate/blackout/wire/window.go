package wire

// Window remembers which of the newest sequence numbers were seen, one bit
// each, in a ring. It distinguishes a duplicate from a late one.
type Window struct {
	bits []uint64
	top  uint64
}

// NewWindow returns a window over the newest size numbers; size is rounded up
// to a multiple of 64.
func NewWindow(size int) Window {
	return Window{bits: make([]uint64, (size+63)/64)}
}

// Add notes seq and reports whether it is new. Numbers that have fallen out
// of the window are not: whether they were seen is no longer known.
func (w *Window) Add(seq uint64) bool {
	if seq > w.top {
		w.advance(seq)
	} else if w.top-seq >= w.size() {
		return false
	}
	word, bit := w.place(seq)
	fresh := w.bits[word]&bit == 0
	w.bits[word] |= bit
	return fresh
}

// advance moves the top to seq and forgets what leaves the window.
func (w *Window) advance(seq uint64) {
	if seq-w.top >= w.size() {
		clear(w.bits)
		w.top = seq
		return
	}
	for w.top < seq {
		w.top++
		word, bit := w.place(w.top)
		w.bits[word] &^= bit
	}
}

func (w *Window) size() uint64 { return uint64(len(w.bits)) * 64 }

func (w *Window) place(seq uint64) (int, uint64) {
	at := seq % w.size()
	return int(at / 64), 1 << (at % 64)
}
