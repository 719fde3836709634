package utilization

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// capacity is what Pacemaker has on this node, by utilization attribute. An attribute that the node does not
// have is none of it.
type capacity struct {
	placed bool             // the scheduler leaves the guest here
	total  map[string]int64 // what the node has
	left   map[string]int64 // what all resources on it leave
	mine   map[string]int64 // what this one takes of it

	strategy string // the cluster's placement-strategy
}

// allows reports whether the guest stays where it is when an attribute of it gets a value. With a placement-strategy
// that uses utilization, Pacemaker stops a guest that does not fit; a node that lacks the attribute has 0 of it
// (pcmk__primitive_assign, have_enough_capacity). Without one only what the node could never give is refused: the
// strategy may be set later.
func (c capacity) allows(name string, value int64, strategy string) bool {
	if strategy == "" || strategy == "default" {
		total, has := c.total[name]
		return !has || value <= total
	}
	return value <= c.left[name]+c.mine[name]
}

// Lines of crm_simulate --show-utilization (pcmk__output_t of node-capacity and resource-util).
var (
	capacityLine = regexp.MustCompile(`^\s*\*? ?(Original|Remaining): (\S+) capacity:(.*)$`)
	useLine      = regexp.MustCompile(`^\s*\*? ?\S+: (\S+) utilization on (\S+):(.*)$`)
)

// parseCapacity reads the text that crm_simulate --show-utilization writes, for one node and one resource on it. It
// is an error when the node is not in it.
func parseCapacity(text, node, resource string) (capacity, error) {
	c := capacity{mine: map[string]int64{}}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if m := capacityLine.FindStringSubmatch(line); m != nil && strings.EqualFold(m[2], node) {
			values := parseValues(m[3])
			if m[1] == "Original" {
				c.total = values
			} else {
				c.left = values
			}
		}
		if m := useLine.FindStringSubmatch(line); m != nil && m[1] == resource && strings.EqualFold(m[2], node) {
			c.placed, c.mine = true, parseValues(m[3])
		}
	}
	if c.total == nil || c.left == nil {
		return c, fmt.Errorf("crm_simulate does not say what node %q has", node)
	}
	return c, nil
}

// parseValues reads "cpu=2 hv_memory=0". What is no number counts as 0, as it does for Pacemaker.
func parseValues(text string) map[string]int64 {
	values := make(map[string]int64)
	for _, word := range strings.Fields(text) {
		if name, value, ok := strings.Cut(word, "="); ok {
			values[name], _ = strconv.ParseInt(value, 10, 64)
		}
	}
	return values
}
