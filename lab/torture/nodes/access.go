package nodes

import (
	"github.com/vmferry/vmferry/lab/guarded"
	"github.com/vmferry/vmferry/lab/scenario"
)

// barsOf are the times in which nodes had no access to the disks, where changes are in order of time.
func barsOf(changes []guarded.Access) []scenario.Bar {
	var bars []scenario.Bar
	shut := map[string]int{} // the node's bar that lasts
	for _, c := range changes {
		i, is := shut[c.Node]
		switch {
		case !c.Open && !is:
			shut[c.Node] = len(bars)
			bars = append(bars, scenario.Bar{Node: c.Node, From: c.At})
		case c.Open && is:
			bars[i].To = c.At
			delete(shut, c.Node)
		}
	}
	return bars
}
