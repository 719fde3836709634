package check

import (
	"github.com/vmferry/vmferry/hbplugin/guard/setup"
)

// guard: can the guard of this node do what it promises?
func guard(o *Observed, f *findings) {
	if o.Guard != nil {
		*f = append(*f, Guard(*o.Guard)...)
	}
}

// Guard says what of the guard of this node was found to be in order, and what not.
func Guard(o setup.Observed) []Finding {
	var all findings
	for _, f := range setup.Check(o) {
		grade := Warning
		if f.Problem {
			grade = Problem
		}
		all.add(f.About, grade, f.What, f.Type)
	}
	if len(all) == 0 {
		all.add("", OK, "holds its lease, and its times hold", "")
	}
	for i := range all {
		all[i].Check = "guard"
	}
	return all
}
