package param

import (
	"cmp"
	"slices"

	"github.com/vmferry/vmferry/migrate/ladder"
)

// defaultLadder is what may be tried where the parameter does not say it.
var defaultLadder = []ladder.Rung{ladder.Live, ladder.Converge, ladder.Shutdown, ladder.Destroy}

// ladder reads what may be tried to get the guest off its node, in the order of the words in [ladder.Rung].
// The last two rungs are added where they are not named: a stop that did not end the guest would
// have the cluster manager fence the node, with all of its guests.
func (r *reader) ladder(name string) []ladder.Rung {
	var rungs []ladder.Rung
	for _, word := range r.list(name) {
		m, err := ladder.Parse(word)
		if err != nil {
			r.bad(name, "%s names %q, which is unknown: use live, converge, postcopy, save, shutdown and destroy", name, word)
			return defaultLadder
		}
		if len(rungs) > 0 && m.Compare(rungs[len(rungs)-1]) <= 0 {
			r.bad(name, "%s names %s after %s: name each once, in the order live, converge, postcopy, save, shutdown, destroy", name, m, rungs[len(rungs)-1])
			return defaultLadder
		}
		rungs = append(rungs, m)
	}
	has := func(m ladder.Rung) bool { return slices.Contains(rungs, m) }
	switch {
	case len(rungs) == 0:
		return defaultLadder
	case (has(ladder.Converge) || has(ladder.PostCopy)) && !has(ladder.Live):
		r.bad(name, "%s does not name live, which %s helps: begin it with live", name, rungs[0])
	case has(ladder.Destroy) && !has(ladder.Shutdown):
		r.bad(name, "%s names destroy and not shutdown: add shutdown, or set force_stop to destroy the guest at each stop", name)
	}
	for _, last := range []ladder.Rung{ladder.Shutdown, ladder.Destroy} {
		if !has(last) {
			rungs = append(rungs, last)
		}
	}
	return rungs
}

// MayUse tells whether the guest's ladder has the rung.
func (p Params) MayUse(m ladder.Rung) bool { return slices.Contains(p.Ladder, m) }

// SavesTo is the directory that the guest is saved to and restored from, "" for none.
func (p Params) SavesTo() string { return cmp.Or(p.Snapshot, p.SaveDir) }

// checkLadder looks at what belongs together of the rung save. snapshot is the same at each stop.
func (r *reader) checkLadder(p Params) {
	switch {
	case p.Snapshot != "" && p.SaveDir != "":
		r.bad("save_dir", "snapshot and save_dir are both set: keep snapshot to save the guest at each stop, or save_dir with save in ladder to save it only when it cannot be moved")
	case p.MayUse(ladder.Save) && p.SavesTo() == "":
		r.bad("ladder", "ladder names save, and save_dir is not set: set save_dir to a directory that all nodes share")
	case p.MayUse(ladder.Save) && p.ForceStop:
		r.bad("ladder", "ladder names save and force_stop is set (or shutdown_timeout is 0): a guest that is destroyed cannot be saved, so keep one of them")
	}
}
