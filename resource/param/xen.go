package param

import (
	"time"
)

// defaultXMFile is the Xen agent's, for a guest of Xen's of which no file is named.
const defaultXMFile = "/etc/xen/vm/MyDomU"

// readXen reads what only the Xen agent has, into p, which holds all the rest.
func readXen(r *reader, p *Params) {
	p.XMFile, p.Name = r.get("xmfile"), r.get("name")
	p.NodeIPAttribute = r.get("node_ip_attribute")
	p.MemManagement = r.boolean("allow_mem_management")
	_ = r.number("reserved_Dom0_memory") // it bounds what allow_mem_management would do
	if acpi := r.boolean("shutdown_acpi"); acpi && p.ShutdownMode == "" {
		p.ShutdownMode = "acpi"
	}
	p.ShutdownTimeout = r.seconds("shutdown_timeout")
	p.ForceStop = p.ForceStop || r.get("shutdown_timeout") == "0"
	if p.File() == "" && r.get("hypervisor") != "" && p.IsXen() {
		p.XMFile = defaultXMFile
	}
}

// ShutdownTime is how long a stop waits for the guest, at most limit. shutdown_timeout says it;
// the Xen agent takes two thirds of the timeout without one.
func (p Params) ShutdownTime(limit, timeout time.Duration) time.Duration {
	switch {
	case p.ShutdownTimeout > 0:
		return min(limit, p.ShutdownTimeout)
	case p.XMFile != "":
		return min(limit, timeout*2/3)
	}
	return limit
}
