package param

import "github.com/vmferry/vmferry/resource/utilization"

// Utilization is what a monitor does about one utilization attribute of the resource.
type Utilization = utilization.Attribute

// readUtilization reads autoset_… and unset_… for each attribute. Unset, VirtualDomain sets all of
// them, and the Xen agent none. As there, autoset_… goes before, but only one that somebody has set.
func readUtilization(r *reader) []Utilization {
	auto := r.get("xmfile") == ""
	var all []Utilization
	for _, name := range []string{"cpu", "host_memory", "hv_memory"} {
		remove := r.boolean("unset_utilization_" + name)
		set := r.boolean("autoset_utilization_"+name) || r.get("autoset_utilization_"+name) == "" && auto && !remove
		if set || remove {
			all = append(all, Utilization{Name: name, Remove: !set})
		}
	}
	return all
}
