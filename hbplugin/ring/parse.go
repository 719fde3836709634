package ring

import (
	"slices"
	"strings"
)

// hosts are the names and addresses of a configuration.
type hosts struct {
	links   []string // what the cluster's own traffic goes to: each must have an address
	nodes   []string // names of nodes, which need not have one
	cluster string   // its name, empty where the configuration has none
}

// parseCorosync reads corosync.conf(5): cluster_name, ringX_addr and name of each node, memberaddr of older versions,
// and the host of a quorum device. It skips what it does not know.
func parseCorosync(text string) hosts {
	var h hosts
	var sections []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if section, ok := strings.CutSuffix(line, "{"); ok {
			sections = append(sections, strings.TrimSpace(section))
			continue
		}
		if line == "}" {
			sections = sections[:max(0, len(sections)-1)]
			continue
		}
		key, value, _ := strings.Cut(line, ":")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		in := ""
		if len(sections) > 0 {
			in = sections[len(sections)-1]
		}
		switch {
		case value == "" || strings.HasPrefix(key, "#"):
		case in == "node" && key == "name":
			h.nodes = append(h.nodes, value)
		case in == "totem" && key == "cluster_name":
			h.cluster = value
		case isRing(key), in == "member" && key == "memberaddr", in == "net" && key == "host":
			h.links = append(h.links, value)
		}
	}
	return h
}

// isRing reports whether a key is ringX_addr.
func isRing(key string) bool {
	number, ok := strings.CutPrefix(key, "ring")
	number, addr := strings.CutSuffix(number, "_addr")
	return ok && addr && number != "" && strings.Trim(number, "0123456789") == ""
}

// parseHeartbeat reads ha.cf: the name of the cluster, the nodes, the addresses of its unicast links, and the hosts
// that it pings.
func parseHeartbeat(text string) hosts {
	var h hosts
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		switch {
		case len(words) < 2:
		case words[0] == "node":
			h.nodes = append(h.nodes, words[1:]...)
		case words[0] == "cluster":
			h.cluster = words[1]
		case words[0] == "ping":
			h.links = append(h.links, words[1:]...)
		case slices.Contains([]string{"ucast", "ucast6", "ping_group"}, words[0]):
			h.links = append(h.links, words[2:]...)
		}
	}
	return h
}
