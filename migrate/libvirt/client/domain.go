package client

import (
	"context"
	"fmt"
	"strings"

	lv "libvirt.org/go/libvirt"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// Hostname is the name that the daemon's host gives itself.
func (c Node) Hostname(ctx context.Context) (string, error) {
	return call(ctx, c.session, "hostname", "", c.lv.GetHostname)
}

// Active lists the names of the domains that Residents has.
func (c Domains) Active(ctx context.Context) ([]string, error) {
	all, err := c.Residents(ctx)
	names := make([]string, 0, len(all))
	for _, r := range all {
		names = append(names, r.Name)
	}
	return names, err
}

// Busy lists the names of the domains that have a job under way, in no order (virDomainGetJobInfo). One that vanishes
// meanwhile has none.
func (c Domains) Busy(ctx context.Context) ([]string, error) {
	return call(ctx, c.session, "list the jobs", "", func() ([]string, error) {
		doms, err := c.lv.ListAllDomains(0)
		if err != nil {
			return nil, err
		}
		var names []string
		for i := range doms {
			job, jerr := doms[i].GetJobInfo()
			if name, nerr := doms[i].GetName(); jerr == nil && nerr == nil && job.Type != lv.DOMAIN_JOB_NONE {
				names = append(names, name)
			}
			_ = doms[i].Free()
		}
		return names, nil
	})
}

// Status asks for one domain. The error is [libvirt.ErrNoDomain] when libvirt answered and
// knows none of that name; a domain that vanishes between two of the questions is
// reported so too.
func (c Domains) Status(ctx context.Context, name string) (libvirt.Status, error) {
	return withDomain(ctx, c.session, "status", name, func(d *lv.Domain) (libvirt.Status, error) {
		state, reason, err := d.GetState()
		if err != nil {
			return libvirt.Status{}, err
		}
		uuid, err := d.GetUUIDString()
		if err != nil {
			return libvirt.Status{}, err
		}
		persistent, err := d.IsPersistent()
		if err != nil {
			return libvirt.Status{}, err
		}
		s := libvirt.Status{State: libvirt.State(state), UUID: uuid, ID: -1, Persistent: persistent}
		s.Reason = libvirt.ReasonWord(s.State, reason)
		if id, err := d.GetID(); err == nil { // an inactive domain has none, and says so with an error
			s.ID = int(id)
		}
		return s, nil
	})
}

// Create starts a domain from its XML: a transient one, or the defined one of the
// same name and UUID. It never defines nor undefines anything (virDomainCreateXML).
func (c Domains) Create(ctx context.Context, xml string) error {
	return do(ctx, c.session, "create", "", func() error {
		d, err := c.lv.DomainCreateXML(xml, 0)
		if err != nil {
			return err
		}
		return d.Free()
	})
}

// Shutdown asks the guest to shut down and does not wait for it. mode is how: one of
// [libvirt.ShutdownModes], or several with commas between, of which the driver takes the
// one that it can do; "" leaves it to the driver (virDomainShutdownFlags). Another mode is an error.
func (c Domains) Shutdown(ctx context.Context, name, mode string) error {
	flags, err := shutdownFlags(mode)
	if err != nil {
		return fmt.Errorf("shut down domain %q: %w", name, err)
	}
	return doDomain(ctx, c.session, "shutdown", name, func(d *lv.Domain) error { return d.ShutdownFlags(flags) })
}

func shutdownFlags(modes string) (lv.DomainShutdownFlags, error) {
	all := map[string]lv.DomainShutdownFlags{
		"acpi":     lv.DOMAIN_SHUTDOWN_ACPI_POWER_BTN,
		"agent":    lv.DOMAIN_SHUTDOWN_GUEST_AGENT,
		"initctl":  lv.DOMAIN_SHUTDOWN_INITCTL,
		"signal":   lv.DOMAIN_SHUTDOWN_SIGNAL,
		"paravirt": lv.DOMAIN_SHUTDOWN_PARAVIRT,
	}
	flags := lv.DOMAIN_SHUTDOWN_DEFAULT
	if modes == "" {
		return flags, nil
	}
	for mode := range strings.SplitSeq(modes, ",") {
		flag, ok := all[mode]
		if !ok {
			return 0, fmt.Errorf("unknown mode %q", mode)
		}
		flags |= flag
	}
	return flags, nil
}

// Destroy stops the domain at once, as pulling the plug does: without the graceful
// flag, so that libvirt kills a hypervisor process that does not end.
func (c Domains) Destroy(ctx context.Context, name string) error {
	return doDomain(ctx, c.session, "destroy", name, func(d *lv.Domain) error {
		return d.DestroyFlags(lv.DOMAIN_DESTROY_DEFAULT)
	})
}

// Resume lets a paused domain's processors run again.
func (c Domains) Resume(ctx context.Context, name string) error {
	return doDomain(ctx, c.session, "resume", name, (*lv.Domain).Resume)
}

// XML is the live description of an active domain, or the definition of an
// inactive one, without secrets.
func (c Domains) XML(ctx context.Context, name string) (string, error) {
	return withDomain(ctx, c.session, "describe", name, func(d *lv.Domain) (string, error) { return d.GetXMLDesc(0) })
}

// Capabilities is the XML that describes the host: its UUID, processor and
// the guests that it can run (libvirt's formatcaps page).
func (c Node) Capabilities(ctx context.Context) (string, error) {
	return call(ctx, c.session, "capabilities", "", c.lv.GetCapabilities)
}

// FreeMemory is the memory in bytes that the host could give to a new guest: free
// pages and those that only cache files. Drivers that cannot distinguish these count
// free pages alone. Where Xen's dom0 gives up memory for guests, nobody knows how much: that
// is [libvirt.ErrUnsupported].
func (c Node) FreeMemory(ctx context.Context) (uint64, error) {
	return call(ctx, c.session, "free memory", "", func() (uint64, error) {
		stats, err := c.lv.GetMemoryStats(lv.NODE_MEMORY_STATS_ALL_CELLS, 0)
		switch {
		case err == nil && stats.AvailableSet:
			return stats.Available << 10, nil
		case err == nil && stats.FreeSet:
			return (stats.Free + stats.Buffers + stats.Cached) << 10, nil
		}
		if c.dom0Yields() {
			return 0, lv.Error{Code: lv.ERR_OPERATION_UNSUPPORTED, Message: "dom0 has all of the memory and gives " +
				"guests what they need, and how much it can give is not known: set dom0_mem for Xen"}
		}
		return c.lv.GetFreeMemory()
	})
}

// dom0Slack is how much more memory dom0 may be allowed than it has, and count as fixed: Xen rounds.
const dom0Slack = 64 << 10 // KiB

// dom0Yields reports whether the host is Xen's with a dom0 whose memory is not fixed (dom0_mem=…,max:…): libxl takes
// from it what a new guest needs.
func (c Node) dom0Yields() bool {
	if !libvirt.DriverOf(c.uri).FixedMemory {
		return false
	}
	dom0, err := c.lv.LookupDomainById(0)
	if err != nil {
		return false
	}
	defer func() { _ = dom0.Free() }()
	info, err := dom0.GetInfo()
	return err == nil && info.MaxMem > info.Memory+dom0Slack
}

// CompareCPU reports whether the host's hypervisor can give such a guest the processor that
// cpuXML describes: the <cpu> element of a domain whose mode is custom.
//
// Source: virConnectCompareHypervisorCPU. The older virConnectCompareCPU asks the
// bare host, and calls guests incompatible for features that QEMU emulates.
func (c Node) CompareCPU(ctx context.Context, m libvirt.Machine, cpuXML string) (compatible bool, err error) {
	return call(ctx, c.session, "compare CPU", "", func() (bool, error) {
		result, err := c.lv.CompareHypervisorCPU("", m.Arch, m.Type, m.VirtType, cpuXML, 0)
		return result == lv.CPU_COMPARE_IDENTICAL || result == lv.CPU_COMPARE_SUPERSET, err
	})
}

// Residents lists all active domains, in no order, with one question to the daemon (virConnectListAllDomains). Xen's
// Domain-0 is the host itself, and none of them.
func (c Domains) Residents(ctx context.Context) ([]libvirt.Resident, error) {
	return call(ctx, c.session, "list", "", func() ([]libvirt.Resident, error) {
		doms, err := c.lv.ListAllDomains(lv.CONNECT_LIST_DOMAINS_ACTIVE)
		if err != nil {
			return nil, err
		}
		all := make([]libvirt.Resident, 0, len(doms))
		for i := range doms {
			r, isHost, rerr := resident(&doms[i])
			switch {
			case rerr != nil:
				err = rerr // the list would not be whole
			case !isHost:
				all = append(all, r)
			}
			_ = doms[i].Free()
		}
		return all, err
	})
}

// resident names a domain. libvirt's library has all of that, and asks no daemon.
func resident(d *lv.Domain) (r libvirt.Resident, isHost bool, err error) {
	if id, err := d.GetID(); err == nil && id == 0 {
		return r, true, nil
	}
	if r.Name, err = d.GetName(); err != nil {
		return r, false, err
	}
	r.UUID, err = d.GetUUIDString()
	return r, false, err
}
