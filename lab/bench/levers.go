package bench

import (
	"context"
	"fmt"

	"github.com/vmferry/vmferry/lab/report"
	"github.com/vmferry/vmferry/lab/scenario"
)

// lever is one means against a guest that writes much, taken alone.
type lever struct{ name, options string }

// levers are what virsh migrate has of them. The rest of what an engine may do is left at libvirt's default.
var levers = []lever{
	{"auto-converge", "--auto-converge"},
	{"xbzrle", "--compressed --comp-methods xbzrle"},
	{"multifd", "--parallel --parallel-connections 4"},
	{"zstd", "--parallel --parallel-connections 2 --compressed --comp-methods zstd"},
	{"postcopy", "--postcopy --postcopy-after-precopy"},
}

// leverNoise is what of a rewritten page cannot be compressed, in per cent: zstd makes half of such a page, as
// of usual memory. XBZRLE is at its best with it, as a write changes a word.
const leverNoise = 50

func (l lever) results() []string {
	return []string{"lever-" + l.name + "-time", "lever-" + l.name + "-blackout-udp"}
}

func leverResults() []string {
	var names []string
	for _, l := range levers {
		names = append(names, l.results()...)
	}
	return names
}

// pullLevers measures what each lever is worth: the peer with it is compared with the peer without.
func pullLevers(ctx context.Context, s *Stage) ([]Result, error) {
	kind := scenario.Kind{Name: "lever", First: 23, MemoryMiB: 128, DirtyMiB: busyRate, DirtySetMiB: workingSet,
		NoisePercent: leverNoise}
	var results []Result
	for _, l := range levers {
		names := l.results()
		all, err := s.strained(ctx, names[0], kind, func(m *mover) {
			with, without := sides[1], sides[1]
			with.ours, with.label = true, report.Peer+" "+l.options
			m.sides = []side{with, without}
			m.ours = []string{"migrate_options=" + l.options}
		})
		if err != nil {
			return results, err
		}
		took, dark := all.result(names[0], "s", secondsOf), all.result(names[1], "ms", udpOf)
		took.Notes = []string{fmt.Sprintf("ours is %s with migrate_options=%q; the guest rewrites %d MiB/s of %d MiB, half of each page noise, and migration_speed=%d",
			report.Peer, l.options, busyRate, workingSet, linkCap)}
		results = append(results, took, dark)
	}
	return results, nil
}
