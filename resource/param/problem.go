package param

import (
	"maps"
	"slices"
	"strings"

	"github.com/vmferry/vmferry/resource/ocf"
	"github.com/vmferry/vmferry/resource/ocf/metadata"
)

// Problem is a parameter whose value cannot be used.
type Problem struct {
	Param string
	Err   *ocf.Error
}

// KeepsFromStarting reports whether a start is refused for it, on every node.
func (p Problem) KeepsFromStarting() bool { return p.isNeeded("start") }

func (p Problem) isNeeded(action string) bool { return p.use().IsNeeded(action) }

func (p Problem) use() metadata.Use {
	known, _ := metadata.Lookup(p.Param)
	return known.Use
}

// ignored names the parameters that are set and mean nothing here, sorted. Names that
// a manager or a tracer adds are no parameters.
func ignored(vars map[string]string) []string {
	var names []string
	for _, v := range slices.Sorted(maps.Keys(vars)) {
		name, ok := strings.CutPrefix(v, Prefix)
		meta := strings.HasPrefix(name, "CRM_") || strings.HasPrefix(name, "trace_") || name == "crm_feature_set"
		if _, known := metadata.Lookup(name); ok && !meta && vars[v] != "" && !known {
			names = append(names, name)
		}
	}
	return names
}

func set(vars map[string]string) map[string]string {
	known := map[string]string{}
	for v, value := range vars {
		name, ok := strings.CutPrefix(v, Prefix)
		if _, is := metadata.Lookup(name); ok && is && value != "" {
			known[name] = value
		}
	}
	return known
}

// Check returns the first problem that concerns the action, and all of them for validate-all. For a migrate_to one
// of the move's own is a failed move and no more: after "not configured" Pacemaker would start the guest on no
// node.
func (e Environ) Check(action string) error {
	var reasons []string
	for _, p := range e.Problems {
		switch {
		case !p.isNeeded(action):
		case action == "validate-all":
			reasons = append(reasons, p.Err.Reason)
		case action == "migrate_to" && p.use() == metadata.Move:
			return ocf.Errorf(ocf.Generic, "the guest cannot be migrated: %s", p.Err.Reason)
		default:
			return p.Err
		}
	}
	if len(reasons) == 0 {
		return nil
	}
	return ocf.Errorf(ocf.Configured, "%s", strings.Join(reasons, "; "))
}

// Overlooked are the problems in spite of which a start or a reload is done, to be logged.
func (e Environ) Overlooked(action string) []Problem {
	if action != "start" && action != "reload-agent" {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(e.Problems), func(p Problem) bool { return p.isNeeded(action) })
}
