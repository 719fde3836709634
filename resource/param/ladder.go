package param

import (
	"cmp"

	"github.com/vmferry/vmferry/migrate/ladder"
)

// ladder reads what may be tried to get the guest off its node.
func (r *reader) ladder(name string) ladder.Rungs {
	rungs, err := ladder.Parse(r.list(name))
	if err != nil {
		r.bad(name, "%s: %v", name, err)
	}
	if len(rungs) == 0 {
		rungs = ladder.Default
	}
	return rungs.ForStop()
}

// SavesTo is the directory that the guest is saved to and restored from, "" for none.
func (p Params) SavesTo() string { return cmp.Or(p.Snapshot, p.SaveDir) }
