package param

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/vmferry/vmferry/migrate/preflight"
)

// Mirror says how the guest's disks are mirrored to another node; see package migrate/mirror.
type Mirror struct {
	Nodes     []string                 // mirror: the nodes that have the disks; none for a guest that is not mirrored
	Interval  time.Duration            // mirror_interval, of disks that Intervals does not name
	Intervals map[string]time.Duration // mirror_interval of single disks, by target such as "vda"
	// MaxLoss is mirror_max_loss, the most that a failover may lose; 0 for no bound. Where it is not set it is ten times
	// the longest interval, and a minute at least.
	MaxLoss time.Duration
	Freeze  bool // mirror_freeze
}

// Every is how often a disk is mirrored.
func (m Mirror) Every(target string) time.Duration {
	if d, ok := m.Intervals[target]; ok {
		return d
	}
	return m.Interval
}

// Peer is the other one of the two nodes; an error where node is neither.
func (m Mirror) Peer(node string) (string, error) {
	for i, n := range m.Nodes {
		if len(m.Nodes) == 2 && strings.EqualFold(n, node) {
			return m.Nodes[1-i], nil
		}
	}
	return "", fmt.Errorf("mirror=%s does not name this node, which is %q", strings.Join(m.Nodes, ","), node)
}

// readMirror reads what is said of the mirror. A move has to copy the disks of a mirrored guest, as each node has its own.
func readMirror(r *reader, p *Params) {
	p.Mirror = Mirror{Nodes: r.list("mirror"), Interval: time.Minute, Intervals: map[string]time.Duration{},
		MaxLoss: r.duration("mirror_max_loss", r.get("mirror_max_loss"), 0), Freeze: r.boolean("mirror_freeze")}
	for _, item := range r.list("mirror_interval") {
		if disk, text, named := strings.Cut(item, "="); named {
			p.Mirror.Intervals[disk] = r.duration("mirror_interval", text, time.Second)
		} else {
			p.Mirror.Interval = r.duration("mirror_interval", item, time.Second)
		}
	}
	if r.get("mirror_max_loss") == "" {
		longest := slices.Max(append(slices.Collect(maps.Values(p.Mirror.Intervals)), p.Mirror.Interval))
		p.Mirror.MaxLoss = max(10*min(longest, 1<<59), time.Minute)
	}
	if len(p.Mirror.Nodes) > 0 && !p.IsXen() {
		p.Disks = preflight.DisksCopy
	}
}

// duration is at least that; 0 may be left out.
func (r *reader) duration(name, text string, least time.Duration) time.Duration {
	d, err := time.ParseDuration(text)
	if (err != nil || d < least) && (text != "" || least > 0) {
		r.bad(name, "%s: %q is not a time from %s on: write it like 10s, 5m or 1h", name, text, least)
	}
	return max(d, least)
}

// mirror is for guests that are mirrored.
func (c checker) mirror() {
	switch nodes := c.p.Mirror.Nodes; {
	case len(nodes) == 0:
	case len(nodes) != 2 || strings.EqualFold(nodes[0], nodes[1]):
		c.bad("mirror", "mirror=%q does not name two nodes: for now, name exactly the two that have the guest's disks",
			c.get("mirror"))
	case c.p.IsXen():
		c.bad("mirror", "mirror is for guests of QEMU: remove it")
	case c.p.Overlay.Backing != "" || c.p.SavesTo() != "":
		c.bad("mirror", "mirror cannot be used with backingfile, snapshot or save_dir, as neither an image that is based on "+
			"another nor a guest's memory goes along: remove them")
	}
}
