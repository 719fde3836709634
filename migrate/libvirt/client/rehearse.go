package client

import (
	"context"
	"errors"
	"fmt"
	"strings"

	lv "libvirt.org/go/libvirt"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// noDomain is the root element of a description that is none of a domain, in any version of libvirt.
const noDomain = "vmferry-preflight"

// Rehearse is nil where libvirt would begin the migration that MigrateToURI3 makes of the same arguments. Else the
// error is libvirt's own: what it refuses to migrate, or why the source's daemon does not reach the target's. When ctx
// ends first, libvirt continues with the question, and has a job of the domain meanwhile.
//
// It asks for the migration with a description for the target (VIR_MIGRATE_PARAM_DEST_XML) that libvirt cannot
// read. The source's daemon reads it after all its own checks and after it has connected to the target, and before it
// tells the target or the hypervisor anything. So the migration always fails, and how it fails is the answer. The
// domain has a job for that time, some 20 ms, no event is sent, and the daemon logs an XML error.
//
// Source: qemu_migration.c of libvirt 11.3, in this order: qemuMigrationSrcPerformJob (qemuMigrationSrcIsAllowed:
// snapshots, checkpoints, devices, what QEMU's query-migrate names as blockers; qemuMigrationSrcIsSafe: caches of
// disks), qemuMigrationSrcPerformPeer2Peer (virConnectOpenAuth), qemuMigrationSrcBeginXML (reads the description).
// A client-managed one comes to the same by qemuMigrationSrcBegin. Since version 3 of the protocol (libvirt 0.9.2).
func (c Migrations) Rehearse(ctx context.Context, name, dconnURI string, p libvirt.MigrateParams) error {
	const op = "rehearse the migration of"
	err := c.migrate(ctx, op, name, dconnURI, "<"+noDomain+"/>", p)
	var lerr *libvirt.Error
	switch {
	case err == nil:
		return fmt.Errorf("%s %q at %q: libvirt accepted an invalid description", op, name, c.uri)
	case errors.As(err, &lerr) && strings.Contains(lerr.Message, noDomain):
		return nil
	}
	return err
}

// Portable is the description of an active domain as it is sent to the target of a migration
// (VIR_DOMAIN_XML_MIGRATABLE).
func (c Migrations) Portable(ctx context.Context, name string) (string, error) {
	return withDomain(ctx, c.session, "describe", name, func(d *lv.Domain) (string, error) {
		return d.GetXMLDesc(lv.DOMAIN_XML_MIGRATABLE)
	})
}

// Accepts is nil where the host could make the hypervisor's command line of the domain that domainXML describes, and
// changes nothing: it has the emulator, and that has the machine type and the devices. What the domain is connected to
// on the host is not looked at (virConnectDomainXMLToNative with qemu-argv).
func (c Migrations) Accepts(ctx context.Context, domainXML string) error {
	_, err := call(ctx, c.session, "try the description of a guest", "", func() (string, error) {
		return c.lv.DomainXMLToNative("qemu-argv", domainXML, 0)
	})
	return err
}

// Snapshots lists the names of the domain's snapshots and checkpoints, as libvirt knows them. A libvirt without
// checkpoints (before 5.6) has none.
func (c Migrations) Snapshots(ctx context.Context, name string) (libvirt.Snapshots, error) {
	return withDomain(ctx, c.session, "list the snapshots of", name,
		func(d *lv.Domain) (s libvirt.Snapshots, err error) {
			all, err := d.ListAllSnapshots(0)
			if err != nil {
				return s, err
			}
			for i := range all {
				if n, err := all[i].GetName(); err == nil {
					s.Snapshots = append(s.Snapshots, n)
				}
				_ = all[i].Free()
			}
			marks, err := d.ListAllCheckpoints(0)
			if c.unsupported(err) {
				return s, nil
			}
			for i := range marks {
				if n, err := marks[i].GetName(); err == nil {
					s.Checkpoints = append(s.Checkpoints, n)
				}
				_ = marks[i].Free()
			}
			return s, err
		})
}
