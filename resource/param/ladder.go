package param

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/vmferry/vmferry/migrate/ladder"
)

// ladder reads what may be tried to get the guest off its node, in the order of the words in [ladder.Rung].
// The last two rungs are added where they are not named: a stop that did not end the guest would
// have the cluster manager fence the node, with all of its guests.
func (r *reader) ladder(name string) []ladder.Rung {
	rungs, err := parseLadder(r.get(name))
	if err != nil {
		r.bad(name, "%s: %v", name, err)
	}
	if len(rungs) == 0 {
		rungs, _ = parseLadder(r.spec(name).Default) // a test reads it
	}
	return rungs
}

// parseLadder returns no rungs for a text that names none, or one that cannot be understood.
func parseLadder(text string) (rungs []ladder.Rung, err error) {
	for _, word := range splitList(text) {
		m, err := ladder.Parse(word)
		if err != nil {
			return nil, err
		}
		if len(rungs) > 0 && m.Compare(rungs[len(rungs)-1]) <= 0 {
			return nil, fmt.Errorf("%s after %s: name each once, in the order %v", m, rungs[len(rungs)-1], ladder.Rungs)
		}
		rungs = append(rungs, m)
	}
	if len(rungs) == 0 {
		return nil, nil
	}
	has := func(m ladder.Rung) bool { return slices.Contains(rungs, m) }
	switch {
	case (has(ladder.Converge) || has(ladder.PostCopy)) && !has(ladder.Live):
		err = fmt.Errorf("live is not named, which %s helps: begin with live", rungs[0])
	case has(ladder.Destroy) && !has(ladder.Shutdown):
		err = errors.New("destroy without shutdown: add shutdown, or set force_stop to destroy the guest at each stop")
	}
	for _, last := range []ladder.Rung{ladder.Shutdown, ladder.Destroy} {
		if !has(last) {
			rungs = append(rungs, last)
		}
	}
	return rungs, err
}

// MayUse reports whether the guest's ladder has the rung.
func (p Params) MayUse(m ladder.Rung) bool { return slices.Contains(p.Ladder, m) }

// SavesTo is the directory that the guest is saved to and restored from, "" for none.
func (p Params) SavesTo() string { return cmp.Or(p.Snapshot, p.SaveDir) }
