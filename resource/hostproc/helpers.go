package hostproc

import (
	"cmp"
	"slices"
)

// MayBeOf reports whether p runs, or works for, the guest of a name. Of a helper whose QEMU has ended the name in the
// control group decides, as far as that tells.
func (p Process) MayBeOf(guest string) bool {
	return p.Name == guest || p.Helper && p.UUID == "" && p.Name != "" && mayBe(p.Name, guest)
}

// CountGuests is how many of these run a guest: the others are helpers.
func CountGuests(all []Process) (n int) {
	for _, p := range all {
		if !p.Helper {
			n++
		}
	}
	return n
}

// helpers are the processes of guests' control groups that run no guest, and the children of those, by number. A
// process that is a doubt is not among them.
func (s sighting) helpers() (all []Process) {
	guests := map[string]Process{} // by the control group
	known := map[int]bool{}        // what is no helper
	for _, p := range s.found {
		known[p.PID] = true
		if l := s.looks[p.PID]; l.group.guest {
			guests[l.group.scope] = p
		}
	}
	for _, d := range s.doubts {
		known[d.pid] = true
	}
	for pid, l := range s.looks {
		of, is := s.ancestor(l)
		if !is || known[pid] {
			continue
		}
		g := of.group
		p := guests[g.scope]
		all = append(all, Process{PID: pid, StartTime: l.stat.start, Name: cmp.Or(p.Name, g.machine), UUID: p.UUID,
			Helper: true})
	}
	slices.SortFunc(all, func(a, b Process) int { return cmp.Compare(a.PID, b.PID) })
	return all
}

// ancestor is l where libvirt has put that into a guest's control group, else the first of those that it descends from
// which is in one.
func (s sighting) ancestor(l look) (of look, found bool) {
	for range s.looks { // a number that is used again while the processes are read could make a circle
		switch parent, is := s.looks[l.stat.parent]; {
		case l.group.guest && l.pid != 0:
			return l, true
		case !is || parent.stat.start > l.stat.start:
			return look{}, false
		default:
			l = parent
		}
	}
	return look{}, false
}
