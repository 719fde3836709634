package metadata

import (
	"fmt"
	"strings"

	"github.com/vmferry/vmferry/migrate/version"
)

// head is the description of the agent itself. The DTD that it names is ours, since the specification has none for 1.1;
// it is installed with the agent, and ocf-tester validates with it.
const head = `<?xml version="1.0"?>
<!DOCTYPE resource-agent SYSTEM "/usr/share/vmferry/ra-api-1.1.dtd">
<resource-agent name="Domain" version="%s">
<version>1.1</version>
<longdesc lang="en">
Manages a guest (domain) of QEMU or Xen through libvirt. Live migration is done with
allow-migrate=true. It takes the place of ocf:heartbeat:VirtualDomain and of ocf:heartbeat:Xen,
with the same parameters. The guest's state is judged by libvirt and by the guest's process: a
guest counts as stopped only when there is proof of it, also while libvirt is down or blocked. The
guest's file is never changed, undefined or deleted, unless save_config_on_stop asks for it.

Set config for a libvirt XML file, or xmfile for an xl configuration.
</longdesc>
<shortdesc lang="en">Manages a guest through libvirt, with live migration</shortdesc>

`

// XML is the agent's meta-data. It satisfies the OCF 1.1 schema of Pacemaker.
func XML() string { return render(version.String()) }

func render(version string) string {
	var b strings.Builder
	fmt.Fprintf(&b, head+"<parameters>\n", escape(version))
	for _, p := range Parameters() {
		p.write(&b)
	}
	b.WriteString("\n</parameters>\n\n<actions>\n")
	for _, a := range Actions {
		depth, interval := "", ""
		if a.Interval > 0 {
			depth, interval = ` depth="0"`, fmt.Sprintf(` interval="%.0fs"`, a.Interval.Seconds())
		}
		fmt.Fprintf(&b, "<action name=%q%s timeout=\"%.0fs\"%s/>\n", a.Name, depth, a.Timeout.Seconds(), interval)
	}
	b.WriteString("</actions>\n</resource-agent>\n")
	return b.String()
}

func (p Parameter) write(b *strings.Builder) {
	unique, reloadable := "", "1"
	if p.Unique {
		unique = fmt.Sprintf(` unique-group=%q unique="1"`, p.Name)
	}
	if p.Restart {
		reloadable = "0"
	}
	fmt.Fprintf(b, "\n<parameter name=%q%s required=\"0\" reloadable=%q>\n", p.Name, unique, reloadable)
	if p.Deprecated != "" {
		fmt.Fprintf(b, "<deprecated>\n<desc lang=\"en\">%s</desc>\n</deprecated>\n", escape(p.Deprecated))
	}
	fmt.Fprintf(b, "<longdesc lang=\"en\">\n%s\n</longdesc>\n", escape(p.Long()))
	fmt.Fprintf(b, "<shortdesc lang=\"en\">%s</shortdesc>\n", escape(p.Short))
	content := fmt.Sprintf(`type=%q`, p.contentType())
	if !p.NoDefault {
		content += fmt.Sprintf(` default="%s"`, escape(p.Default))
	}
	fmt.Fprintf(b, "<content %s/>\n</parameter>\n", content)
}

// contentType is the type by which OCF describes the parameter.
func (p Parameter) contentType() string {
	switch p.Kind {
	case Boolean:
		return "boolean"
	case Number, Integer, Port:
		return "integer"
	}
	return "string"
}

func escape(text string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;").Replace(text)
}
