package ledger

import (
	"fmt"
	"time"
)

// Ack is a number that the guest has acknowledged.
type Ack struct {
	Number uint64
	BootID string // of the guest's boot that acknowledged it
	At     time.Time
}

// Findings are what is wrong with a ledger; all is well when they are empty.
type Findings struct {
	Lost    []string // numbers that were acknowledged and are not there
	Double  []string // proofs that two copies of the guest wrote
	Damaged int      // blocks with a wrong checksum
}

// Good reports whether nothing was found.
func (f Findings) Good() bool { return len(f.Lost) == 0 && len(f.Double) == 0 && f.Damaged <= 1 }

// add appends what another check found.
func (f *Findings) add(more Findings) {
	f.Lost, f.Double = append(f.Lost, more.Lost...), append(f.Double, more.Double...)
	f.Damaged = max(f.Damaged, more.Damaged)
}

// Check compares acknowledged numbers with what a later scan found. A number that is missing is lost; one with another
// boot's id was written again by a copy that did not know of it. One damaged block is no finding: the write that a
// crash has interrupted was never acknowledged.
func Check(acked []Ack, s Scan) Findings {
	f := Findings{Damaged: s.Damaged, Double: order(s.Records)}
	found := make(map[uint64]Record, len(s.Records))
	for _, r := range s.Records {
		found[r.Number] = r
	}
	for _, a := range acked {
		r, ok := found[a.Number]
		switch {
		case a.Number+Capacity <= s.Last(): // the ring has gone on
		case !ok:
			f.Lost = append(f.Lost, fmt.Sprintf("number %d, acknowledged by boot %s at %s, is not on the disk, which ends at %d",
				a.Number, a.BootID, a.At.Format(time.RFC3339Nano), s.Last()))
		case a.BootID != "" && r.BootID != a.BootID:
			f.Double = append(f.Double, fmt.Sprintf("number %d was acknowledged by boot %s at %s, and boot %s has written it",
				a.Number, a.BootID, a.At.Format(time.RFC3339Nano), r.BootID))
		}
	}
	return f
}

// order finds records of two boots that wrote at the same time: each boot's records are consecutive, each boot has one
// generation, and a later boot a higher one.
func order(records []Record) (double []string) {
	seen := map[string]bool{}
	for i, r := range records {
		if i == 0 || r.BootID == records[i-1].BootID {
			seen[r.BootID] = true
			if i > 0 && r.Generation != records[i-1].Generation {
				double = append(double, fmt.Sprintf("boot %s wrote in the generations %d and %d", r.BootID,
					records[i-1].Generation, r.Generation))
			}
			continue
		}
		before := records[i-1]
		if seen[r.BootID] {
			double = append(double, fmt.Sprintf("records %d and %d: boot %s wrote between two records of boot %s",
				before.Number, r.Number, before.BootID, r.BootID))
		} else if r.Generation <= before.Generation {
			double = append(double, fmt.Sprintf("records %d and %d: boot %s in generation %d follows boot %s in generation %d",
				before.Number, r.Number, r.BootID, r.Generation, before.BootID, before.Generation))
		}
		seen[r.BootID] = true
	}
	return double
}
