package nodes

import (
	"time"

	"github.com/vmferry/vmferry/lab/scenario"
)

// Access is a change of a node's access to the disks.
type Access struct {
	Node string
	Open bool
	At   time.Time // of a revocation its end, of an opening its begin: between both, the node certainly writes nothing
}

// Bars are the times in which nodes had no access, where changes are in order of time.
func Bars(changes []Access) []scenario.Bar {
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
