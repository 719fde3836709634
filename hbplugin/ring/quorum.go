package ring

import (
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/vmferry/vmferry/migrate/safefile"
)

// Quorum is how Corosync decides whether the nodes that see each other may go on, see votequorum(5).
type Quorum struct {
	Nodes      []string // by name, else by address, in Corosync's order
	TwoNode    bool     // of two nodes one alone has quorum
	WaitForAll bool     // but not before it has seen the other since its start
}

// ParseQuorum reads what corosync-cmapctl(8) prints without a key.
func ParseQuorum(text string) Quorum {
	q, names := Quorum{}, map[int]string{}
	waits := ""
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(line, "=")
		key, _, _ = strings.Cut(key, " ")
		value = strings.TrimSpace(value)
		switch key {
		case "quorum.two_node":
			q.TwoNode = value == "1"
		case "quorum.wait_for_all":
			waits = value
		}
		rest, isNode := strings.CutPrefix(key, "nodelist.node.")
		number, what, _ := strings.Cut(rest, ".")
		if n, err := strconv.Atoi(number); isNode && err == nil && (what == "name" || what == "ring0_addr") {
			if what == "name" || names[n] == "" {
				names[n] = value
			}
		}
	}
	for _, n := range slices.Sorted(maps.Keys(names)) {
		q.Nodes = append(q.Nodes, names[n])
	}
	q.WaitForAll = waits == "1" || waits == "" && q.TwoNode
	return q
}

// Cluster is what the cluster manager's configuration below root says of the cluster: its name, empty where there is
// none, and the names of its nodes in their order. Corosync's counts before Heartbeat's. Without either both are empty.
func Cluster(root string) (name string, nodes []string, err error) {
	for _, from := range []struct {
		path  string
		parse func(string) hosts
	}{{CorosyncConf, parseCorosync}, {haCf, parseHeartbeat}} {
		text, err := safefile.Read(filepath.Join(root, from.path), maxSize, safefile.Anyone)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		found := from.parse(string(text))
		if err != nil || len(found.nodes) > 0 {
			return found.cluster, found.nodes, err
		}
	}
	return "", nil, nil
}
