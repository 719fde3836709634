package resource

import (
	"context"
	"fmt"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/domainxml"
	"github.com/vmferry/vmferry/resource/observe"
	"github.com/vmferry/vmferry/resource/ocf"
	"github.com/vmferry/vmferry/resource/timely"
)

// bringUp starts the guest, which is proven not to run: from its saved state, or from its file.
func (s *starter) bringUp(ctx context.Context, conn observe.Hypervisor, o observe.Observation) error {
	text, err := startXML(ctx, conn, s.config.domain, s.guest.Name, o.Status.UUID)
	if err != nil {
		return err
	}
	for _, f := range domainxml.FirmwareOf(text) {
		if f.Path == "" { // it begins empty at each start
			s.Log.Warnf("the guest's %s", f)
		}
	}
	if s.Params.StartResources {
		if err := startResources(ctx, conn, domainxml.HostResourcesOf(text)); err != nil {
			return err
		}
	}
	asking, cancel := timely.Within(ctx, s.budget.call)
	defer cancel()
	if err := checkMemory(asking, conn, s.Params, text, s.Log); err != nil {
		return err
	}
	state, err := s.saver.claim(ctx, text)
	if err != nil {
		return err
	}
	if state != nil {
		return s.saver.restore(ctx, conn, state)
	}
	image := overlay{s.Params.Overlay, s.Params.Config, s.command, s.Log}
	if err := image.make(ctx, domainxml.HostResourcesOf(text).Disks); err != nil {
		return err
	}
	return conn.Create(ctx, text)
}

// startXML is what libvirt starts the guest from, which d describes; uuid is that of a definition that libvirt has.
func startXML(ctx context.Context, conn observe.Hypervisor, d domainxml.Domain, name, uuid string) (string, error) {
	switch {
	case d.IsXL:
		text, err := conn.DomainXML(ctx, libvirt.NativeXL, d.Text)
		if err != nil {
			return "", err
		}
		return domainxml.WithName(text, name)
	case d.UUID == "" && uuid == "": // what is kept under a UUID that ends with the guest is of no use to anybody
		return d.Text, nil
	}
	return domainxml.KeepTPM(d.WithUUID(uuid)), nil
}

// startResources starts what the guest needs of libvirt. conn may be another node's.
func startResources(ctx context.Context, conn observe.Hypervisor, n domainxml.HostResources) error {
	for _, pool := range n.Pools {
		if err := conn.StartPool(ctx, pool); err != nil {
			return fmt.Errorf("its storage pool %q does not start: %w", pool, err)
		}
	}
	for _, network := range n.Networks {
		if err := conn.StartNetwork(ctx, network); err != nil {
			return fmt.Errorf("its network %q does not start: %w", network, err)
		}
	}
	return nil
}

// prepareMove does what the parameters request before a migration.
func (m *migrator) prepareMove(ctx context.Context, o observe.Observation, target string) error {
	m.configs.save(ctx, o)
	if !m.Params.StartResources {
		return nil
	}
	ctx, cancel := timely.Within(ctx, 2*m.budget.call)
	defer cancel()
	conn, err := m.Open(ctx, target)
	if err != nil {
		return ocf.Wrapf(ocf.Generic, err, "cannot start the resources of guest %q on %s", m.guest.Name, m.Target)
	}
	defer func() { _ = conn.Close() }()
	if err := startResources(ctx, conn, domainxml.HostResourcesOf(m.config.domain.Text)); err != nil {
		return ocf.Wrapf(ocf.Generic, err, "guest %q cannot be migrated to %s", m.guest.Name, m.Target)
	}
	return nil
}
