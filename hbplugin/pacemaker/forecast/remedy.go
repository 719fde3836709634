package forecast

import (
	"fmt"
	"strings"

	"github.com/vmferry/vmferry/hbplugin/pacemaker/cib"
	"github.com/vmferry/vmferry/migrate/shellword"
)

// command is a command line that a POSIX shell reads as these very arguments.
func command(args ...string) string { return shellword.Line(args...) }

func setMeta(id, name, value string) string { return "type: " + cib.SetMeta(id, name, value) }

func cleanup(id, node string) string { return "type: " + cib.Cleanup(id, node) }

// unlocate takes a location constraint away. crm_resource has its own way for those that it wrote.
func unlocate(l cib.Constraint, r cib.Resource) string {
	if strings.HasPrefix(l.ID, "cli-ban-") || strings.HasPrefix(l.ID, "cli-prefer-") {
		id := r.ID
		if len(l.Resources) == 1 {
			id = l.Resources[0]
		}
		return "type: " + command("crm_resource", "--clear", "--resource", id)
	}
	return "if that is not what you want, type: " +
		command("cibadmin", "--delete", "--xml-text", `<rsc_location id="`+l.ID+`"/>`)
}

// origin is the element that sets a meta attribute: the resource itself where it is nobody else.
func origin(r cib.Resource, name string) string {
	if id := r.Origin[name]; id != "" && id != r.Template { // crm_resource does not know templates
		return id
	}
	return r.ID
}

// from says where a meta attribute is set, if it is not at the resource itself.
func from(r cib.Resource, name string) string {
	switch id, set := r.Origin[name]; {
	case !set || id == r.ID:
		return ""
	case id == "":
		return " (by the resource defaults)"
	default:
		return fmt.Sprintf(" (by %q)", id)
	}
}
