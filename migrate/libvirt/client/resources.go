package client

import (
	"context"
	"time"

	lv "libvirt.org/go/libvirt"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// Definition is the description from which the domain would be started again, with its
// secrets: the definition of a persistent domain, and of a transient one the running
// configuration (VIR_DOMAIN_XML_INACTIVE, VIR_DOMAIN_XML_SECURE).
func (c Domains) Definition(ctx context.Context, name string) (string, error) {
	return withDomain(ctx, c.session, "describe", name, func(d *lv.Domain) (string, error) {
		return d.GetXMLDesc(lv.DOMAIN_XML_INACTIVE | lv.DOMAIN_XML_SECURE)
	})
}

// Info says how large a domain is.
func (c Domains) Info(ctx context.Context, name string) (libvirt.Info, error) {
	return withDomain(ctx, c.session, "ask the size of", name, func(d *lv.Domain) (libvirt.Info, error) {
		i, err := d.GetInfo()
		if err != nil {
			return libvirt.Info{}, err
		}
		return libvirt.Info{CPUs: i.NrVirtCpu, Memory: i.Memory, MaxMemory: i.MaxMem}, nil
	})
}

// Save writes the guest's memory and state to the file at path, which is overwritten, and ends
// the guest. When ctx ends first the job continues: use AbortJob, which lets the guest run again.
func (c Domains) Save(ctx context.Context, name, path string) error {
	return doDomain(ctx, c.session, "save", name, func(d *lv.Domain) error { return d.Save(path) })
}

// Restore starts the guest that Save put into the file at path, and leaves the file. It takes the guest's description
// from xml, or from the file where xml is empty. One by which the guest would have another hardware is
// [libvirt.IsOtherHardware], and starts nothing.
//
// Source: qemuSaveImageUpdateDef in libvirt's src/qemu/qemu_saveimage.c.
func (c Domains) Restore(ctx context.Context, path, xml string) error {
	return do(ctx, c.session, "restore", path, func() error { return c.lv.DomainRestoreFlags(path, xml, 0) })
}

// StartNetwork starts the network of that name, unless it is active.
func (c Node) StartNetwork(ctx context.Context, name string) error {
	return do(ctx, c.session, "start network", name, func() error {
		n, err := c.lv.LookupNetworkByName(name)
		if err != nil {
			return err
		}
		defer func() { _ = n.Free() }()
		if active, err := n.IsActive(); err != nil || active {
			return err
		}
		return n.Create()
	})
}

// StartPool starts the storage pool of that name; one that is active is refreshed, so that it
// knows volumes that came by another way.
func (c Node) StartPool(ctx context.Context, name string) error {
	return do(ctx, c.session, "start storage pool", name, func() error {
		p, err := c.lv.LookupStoragePoolByName(name)
		if err != nil {
			return err
		}
		defer func() { _ = p.Free() }()
		active, err := p.IsActive()
		switch {
		case err != nil:
			return err
		case active:
			return p.Refresh(0)
		}
		return p.Create(lv.STORAGE_POOL_CREATE_NORMAL)
	})
}

// AgentPing asks the QEMU guest agent for a sign of life. libvirt itself waits for the agent until
// half a second before ctx ends (whole seconds, one at least): an error that has no
// Cause is the agent's, and not a libvirt's that hangs. Drivers other than QEMU's give
// [libvirt.ErrUnsupported].
func (c Domains) AgentPing(ctx context.Context, name string) error {
	wait := 5 * time.Second
	if deadline, ok := ctx.Deadline(); ok {
		wait = time.Until(deadline) - 500*time.Millisecond
	}
	seconds := lv.DomainQemuAgentCommandTimeout(max(int64(wait/time.Second), 1))
	return doDomain(ctx, c.session, "ping the guest agent of", name, func(d *lv.Domain) error {
		_, err := d.QemuAgentCommand(`{"execute":"guest-ping"}`, seconds, 0)
		return err
	})
}

// DomainXML turns a configuration in a hypervisor's own format, such as [libvirt.NativeXL], into
// libvirt's XML. Only the driver of that hypervisor can.
func (c Domains) DomainXML(ctx context.Context, format, text string) (string, error) {
	return call(ctx, c.session, "convert from "+format, "", func() (string, error) {
		return c.lv.DomainXMLFromNative(format, text, 0)
	})
}
