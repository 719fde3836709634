package ladder

import (
	"fmt"
	"slices"
	"strings"
)

// Specs are the rungs, from the gentlest to the roughest.
var Specs = []Spec{
	live,
	converge,
	postCopy,
	save,
	shutdown,
	destroy,
}

// Default is what may be done with a guest that does not say. Nothing ends a guest as a power cut does unless somebody
// has named it, but for the stop of a cluster manager, which must end; see [Rungs.ForStop].
var Default = Rungs{Live, Converge, Shutdown}

// All are all rungs, in their order.
func All() (all Rungs) {
	for _, s := range Specs {
		all = append(all, s.Name)
	}
	return all
}

// Spec is what is known of the rung; empty of one that there is not.
func (r Rung) Spec() Spec {
	if i := r.index(); i >= 0 {
		return Specs[i]
	}
	return Spec{}
}

func (r Rung) index() int { return slices.IndexFunc(Specs, func(s Spec) bool { return s.Name == r }) }

// Check is an error where there is no such rung.
func (r Rung) Check() error {
	if r.index() < 0 {
		return fmt.Errorf("unknown ladder rung %q: use %v", r, All())
	}
	return nil
}

// Compare is negative where r is a gentler rung than o, and positive where it is a rougher one.
func (r Rung) Compare(o Rung) int { return r.index() - o.index() }

// IsLive reports whether the rung moves the guest while it runs.
func (r Rung) IsLive() bool { return r.Spec().Live }

// IsPlain reports whether it does so by pre-copy alone, with the guest at its full speed.
func (r Rung) IsPlain() bool {
	s := r.Spec()
	return s.Live && s.techniques() == Techniques{}
}

// Needs reports whether it cannot be tried without n.
func (r Rung) Needs(n Need) bool { return slices.Contains(r.Spec().Needs, n) }

// Saves reports whether the guest's memory is saved, and restored where the guest is started.
func (r Rung) Saves() bool { return r.Needs(SaveDir) }

// Rungs are a guest's ladder: what may be tried, in this order.
type Rungs []Rung

// Parse is the ladder that an operator named by these words. Of one that lacks a rung which another is useless
// without, the error comes with the ladder.
func Parse(words []string) (l Rungs, err error) {
	for i, word := range words {
		r := Rung(word)
		if err := r.Check(); err != nil {
			return nil, err
		}
		if i > 0 && r.Compare(l[i-1]) <= 0 {
			return nil, fmt.Errorf("%s after %s: name each once, in the order %v", r, l[i-1], All())
		}
		l = append(l, r)
	}
	for _, r := range l {
		if s := r.Spec(); s.After != "" && !slices.Contains(l, s.After) {
			return l, fmt.Errorf("%s without %s: add %s%s", r, s.After, s.After, s.Or)
		}
	}
	return l, nil
}

// ForStop is the ladder with the rungs that each stop of the agent tries.
func (l Rungs) ForStop() Rungs {
	return All().only(func(r Rung) bool { return r.Spec().Always || slices.Contains(l, r) })
}

// Named is the ladder as an operator names it, without the rungs that each stop tries.
func (l Rungs) Named() string {
	var words []string
	for _, r := range l.only(func(r Rung) bool { return !r.Spec().Always }) {
		words = append(words, string(r))
	}
	return strings.Join(words, ",")
}

// Live are those that move the guest while it runs.
func (l Rungs) Live() Rungs { return l.only(Rung.IsLive) }

// Ending are those that end the guest.
func (l Rungs) Ending() Rungs { return l.only(func(r Rung) bool { return r.Spec().Takes != nil }) }

// Without are those that do not need n.
func (l Rungs) Without(n Need) Rungs { return l.only(func(r Rung) bool { return !r.Needs(n) }) }

// MovesLive reports whether the guest may be migrated: for that the ladder names a live rung that needs no other.
func (l Rungs) MovesLive() bool {
	return slices.ContainsFunc(l, func(r Rung) bool { return r.IsLive() && r.Spec().After == "" })
}

// Saves reports whether the guest may be saved.
func (l Rungs) Saves() bool { return slices.ContainsFunc(l, Rung.Saves) }

// Techniques are those of all its live rungs.
func (l Rungs) Techniques() (t Techniques) {
	for _, r := range l {
		of := r.Spec().techniques()
		t.Throttle, t.PostCopy = t.Throttle || of.Throttle, t.PostCopy || of.PostCopy
	}
	return t
}

// only is never nil of a ladder that is not nil: see drain.Guest.
func (l Rungs) only(keep func(Rung) bool) Rungs {
	return slices.DeleteFunc(slices.Clone(l), func(r Rung) bool { return !keep(r) })
}

// Rungs are the live rungs that use no other techniques.
func (t Techniques) Rungs() (all Rungs) {
	for _, s := range Specs {
		if s.Live && (!s.PostCopy || t.PostCopy) && (s.Throttle == nil || t.Throttle) {
			all = append(all, s.Name)
		}
	}
	return all
}

// Rung is the roughest of them: the one that a migration with these techniques is on.
func (t Techniques) Rung() Rung {
	all := t.Rungs()
	return all[len(all)-1]
}
