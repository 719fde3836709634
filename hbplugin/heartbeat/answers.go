package heartbeat

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// state is which resources this node holds: the answer of "cl_status
// rscstatus".
type state string

// The states.
const (
	none       state = "none"
	local      state = "local"      // those that haresources gives to this node
	foreign    state = "foreign"    // those that it gives to the other one
	all        state = "all"        // both
	transition state = "transition" // one of the nodes is taking or giving up resources
)

// includes reports whether a node in this state may hold its own resources, or
// those of the other node.
func (s state) includes(own bool) bool {
	return s != none && (s != local || own) && (s != foreign || !own)
}

func parseState(text string) (state, error) {
	s := state(strings.TrimSpace(text))
	if !slices.Contains([]state{none, local, foreign, all, transition}, s) {
		return "", fmt.Errorf("cl_status rscstatus: %q is not a state of resources: is this Heartbeat in haresources "+
			"mode", s)
	}
	return s, nil
}

// parseNodes reads the names of "cl_status listnodes", one a line.
func parseNodes(text string) ([]string, error) {
	var nodes []string
	for line := range strings.Lines(text) {
		name := strings.TrimSpace(line)
		if strings.ContainsAny(name, " \t") || strings.HasPrefix(name, "-") {
			return nil, fmt.Errorf("cl_status listnodes: %q is not a node name", name)
		}
		if name != "" && !slices.Contains(nodes, name) {
			nodes = append(nodes, name)
		}
	}
	if len(nodes) == 0 {
		return nil, errors.New("cl_status listnodes: no node is listed")
	}
	return nodes, nil
}

// parseNodeStatus reads the answer of "cl_status nodestatus". A node is init
// before it is heard of, up once it is, active when it takes part, and dead.
func parseNodeStatus(text string) (alive, known bool) {
	alive, known = map[string]bool{"active": true, "init": false, "up": false, "dead": false}[strings.TrimSpace(text)]
	return alive, known
}

// maxDeadtime is far above any that makes sense.
const maxDeadtime = 24 * time.Hour

// parseDeadtime reads the answer of "cl_status hbparameter -p deadtime": seconds, or a number
// with its unit, as ha.cf has it.
// Fences reports whether Heartbeat switches off a node that it calls dead, before it takes its resources over: whether
// the text of ha.cf has a STONITH device.
func Fences(haCf string) bool {
	for line := range strings.Lines(haCf) {
		if w := strings.Fields(line); len(w) > 1 && (w[0] == "stonith" || w[0] == "stonith_host") {
			return true
		}
	}
	return false
}

func parseDeadtime(text string) (time.Duration, error) {
	text = strings.TrimSpace(text)
	d, err := time.ParseDuration(text)
	if err != nil {
		d, err = time.ParseDuration(text + "s")
	}
	if err != nil || d <= 0 || d > maxDeadtime {
		return 0, fmt.Errorf("cl_status hbparameter -p deadtime: %q is not a time", text)
	}
	return d, nil
}
