// Package plan says how a drain of this node would go: which guest leaves when, by which rung of the ladder, and what
// its clients notice. [Sources.Observe] reads what earlier migrations taught and measures the guests; [Make] is a pure
// function from that to the [Report].
package plan
