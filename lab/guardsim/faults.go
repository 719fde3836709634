package guardsim

import (
	"slices"
	"time"
)

// fault is one thing that goes wrong, for a while.
type fault struct {
	begins, ends time.Duration
	what         string
	begin, end   func()
	begun, ended bool
}

// schedule draws the faults.
func (w *world) schedule() {
	for range w.Faults {
		n := w.nodes[w.rand.IntN(w.Nodes)]
		begins := w.between(5*time.Second, 15*time.Second)
		f := fault{begins: begins, ends: min(begins+w.between(tick, 12*time.Second), healed)}
		w.draw(&f, n)
		w.faults = append(w.faults, f)
	}
}

// draw chooses what goes wrong at n; of more than three nodes a link that is cut may part another one with it.
func (w *world) draw(f *fault, n *node) {
	with := n
	if w.Nodes > 3 {
		with = w.nodes[w.rand.IntN(w.Nodes)]
	}
	link := func(both, cut bool) func() {
		return func() { w.part(n, with, both, cut) }
	}
	kinds := 11
	if w.NoHang {
		kinds--
	}
	switch w.rand.IntN(kinds) {
	case 0, 1:
		f.what, f.begin, f.end = "link cut", link(true, true), link(true, false)
	case 2:
		f.what, f.begin, f.end = "link cut in one direction", link(false, true), link(false, false)
	case 3:
		f.what = "storage cut"
		f.begin, f.end = func() { n.diskCut = true }, func() { n.diskCut = false }
	case 4:
		f.what = "crash"
		f.begin, f.end = n.crash, n.boot
	case 5:
		f.what = "a gateway lost"
		f.begin, f.end = func() { n.reached-- }, func() { n.reached++ }
	case 6:
		f.what = "guard killed"
		f.begin, f.end = n.killGuard, func() {}
	case 7:
		f.what = "storage and link cut"
		cut, heal := link(true, true), link(true, false)
		f.begin, f.end = func() { n.diskCut = true; cut() }, func() { n.diskCut = false; heal() }
	case 8:
		f.what, f.begin, f.end = "flapping link", w.flap(n, with), func() { w.flapping = nil; link(true, false)() }
	case 9:
		f.what = "reads fail"
		hangs := w.chance(0.5)
		f.begin, f.end = func() { n.readCut, n.hangs = true, hangs }, func() { n.readCut = false }
	case 10:
		f.what = "hang"
		f.begin, f.end = func() { n.hung = true }, func() { n.hung = false }
	}
	f.what += " at node " + string(rune('0'+n.id))
}

// strike begins and ends what is due.
func (w *world) strike() {
	if w.flapping != nil {
		w.flapping()
	}
	for i := range w.faults {
		f := &w.faults[i]
		if !f.begun && w.now >= f.begins {
			f.begun = true
			w.log("%s, for %s", f.what, f.ends-f.begins)
			f.begin()
		}
		if f.begun && !f.ended && w.now >= f.ends {
			f.ended = true
			w.log("over: %s", f.what)
			f.end()
		}
	}
}

// flap makes the link go up and down, and the addresses that n reaches come and go, every second or so.
func (w *world) flap(n, with *node) func() {
	outside := n.rest[slices.IndexFunc(n.rest, func(o *node) bool { return o != with })]
	return func() {
		next := w.now
		w.flapping = func() {
			if w.now < next {
				return
			}
			next = w.now + w.between(100*time.Millisecond, 3*time.Second)
			cut := !w.cut[n.id-1][outside.id-1]
			w.part(n, with, true, cut)
			if w.chance(0.2) {
				w.part(n, with, false, !cut)
			}
			n.reached = w.rand.IntN(3)
		}
	}
}

// part cuts two nodes off from all others, or joins them again; both is in both directions.
func (w *world) part(a, b *node, both, cut bool) {
	for _, n := range w.nodes {
		for _, o := range w.nodes {
			inside := o == a || o == b
			if (n == a || n == b) && !inside {
				w.cut[n.id-1][o.id-1] = cut
				if both {
					w.cut[o.id-1][n.id-1] = cut
				}
			}
		}
	}
}
