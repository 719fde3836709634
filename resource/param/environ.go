package param

import (
	"cmp"
	"strings"
	"time"

	"github.com/vmferry/vmferry/resource/ocf"
)

// Prefix begins the variables that hold parameters.
const Prefix = "OCF_RESKEY_"

// Environ is one call of the agent as the cluster manager describes it in
// environment variables (OCF resource agent API 1.1, "Parameters and environment").
type Environ struct {
	Instance  string        // OCF_RESOURCE_INSTANCE, the resource's id; "default" when unset
	Node      string        // OCF_RESKEY_CRM_meta_on_node, this node's name; may be empty
	Target    string        // OCF_RESKEY_CRM_meta_migrate_target
	Source    string        // OCF_RESKEY_CRM_meta_migrate_source
	Timeout   time.Duration // OCF_RESKEY_CRM_meta_timeout; 0 when unset or senseless
	Probe     bool          // a monitor finds out whether the guest is here at all
	Params    Params
	Set       map[string]string // the parameters that are set and that this agent knows, as written
	Problems  []Problem         // what is wrong with the parameters, in their order
	Ignored   []string          // parameters that are set and that this agent does not know
	Pacemaker bool              // Pacemaker called, so that its tools can be used
	Bare      bool              // no OCF variable at all: a person called
}

// ParseEnviron reads a list of NAME=VALUE as os.Environ gives it. It never fails:
// what is wrong with a parameter is noted in Problems, since not every action
// needs every parameter.
func ParseEnviron(environ []string) Environ {
	vars := make(map[string]string, len(environ))
	bare := true
	for _, v := range environ {
		name, value, _ := strings.Cut(v, "=")
		vars[name] = value
		bare = bare && !strings.HasPrefix(name, "OCF_")
	}
	e := Environ{
		Instance:  cmp.Or(vars["OCF_RESOURCE_INSTANCE"], "default"),
		Node:      vars[Prefix+"CRM_meta_on_node"],
		Target:    vars[Prefix+"CRM_meta_migrate_target"],
		Source:    vars[Prefix+"CRM_meta_migrate_source"],
		Timeout:   ocf.ParseTimeout(vars[Prefix+"CRM_meta_timeout"]),
		Probe:     isProbe(vars),
		Pacemaker: fromPacemaker(vars),
		Bare:      bare,
	}
	e.Params, e.Problems = parseParams(vars)
	e.Set, e.Ignored = set(vars), ignored(vars)
	return e
}

func fromPacemaker(vars map[string]string) bool { return vars[Prefix+"crm_feature_set"] != "" }

// isProbe tells a probe from a monitor that comes again and again. Pacemaker sets OCF_RESKEY_CRM_meta_interval for
// those alone (3.0 does), or to 0 for a probe; the shell functions of resource-agents take an unset one for 0,
// too. Without Pacemaker an unset one is the status of Heartbeat, or a person's question.
func isProbe(vars map[string]string) bool {
	interval := vars[Prefix+"CRM_meta_interval"]
	return interval == "0" || interval == "" && fromPacemaker(vars)
}
