package client

import (
	"context"
	"time"

	lv "libvirt.org/go/libvirt"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// MigrateToURI3 migrates the domain live and peer to peer: the source's daemon talks to the target's daemon at
// dconnURI, and no client prolongs the pause; p.Managed changes that (virDomainMigrate3). Definitions stay as they are
// on both sides: the source's is kept, and the target gets a transient domain unless it had a definition already.
// MigrateOptions change that where they say so.
//
// It returns when the migration ended. When ctx ends first it returns, and the migration goes
// on: use AbortJob. An error does not prove that the domain stayed.
func (c Migrations) MigrateToURI3(ctx context.Context, name, dconnURI string, p libvirt.MigrateParams) error {
	return c.migrate(ctx, "migrate", name, dconnURI, "", p)
}

// migrate is MigrateToURI3 with a description for the target, where that is not empty.
func (c Migrations) migrate(ctx context.Context, op, name, dconnURI, destXML string, p libvirt.MigrateParams) error {
	if err := libvirt.CheckURI(dconnURI); err != nil {
		return wrap(op, c.uri, name, err)
	}
	flags, params := migration(p, libvirt.DriverOf(c.uri))
	params.DestXML, params.DestXMLSet = destXML, destXML != ""
	if !p.Managed {
		return doDomain(ctx, c.session, op, name, func(d *lv.Domain) error {
			return d.MigrateToURI3(dconnURI, &params, flags)
		})
	}
	target, err := Open(ctx, dconnURI)
	if err != nil {
		return err
	}
	defer func() { _ = target.Close() }() // while the call is abandoned, its last user closes it
	return doDomain(ctx, c.session, op, name, func(d *lv.Domain) error {
		if err := target.enter(op, name); err != nil {
			return err
		}
		defer target.leave()
		there, err := d.Migrate3(target.lv, &params, flags&^lv.MIGRATE_PEER2PEER)
		if err == nil {
			_ = there.Free()
		}
		return err
	})
}

// migration puts p into libvirt's words. The caller fits what is requested to the driver; what is
// here for every migration is left out where the driver refuses it.
func migration(p libvirt.MigrateParams, driver libvirt.Driver) (lv.DomainMigrateFlags, lv.DomainMigrateParameters) {
	flags := lv.MIGRATE_LIVE | lv.MIGRATE_PEER2PEER
	if driver.JobControl {
		flags |= lv.MIGRATE_ABORT_ON_ERROR
	}
	for _, f := range []struct {
		on   bool
		flag lv.DomainMigrateFlags
	}{
		{p.AutoConverge, lv.MIGRATE_AUTO_CONVERGE},
		{p.Unsafe, lv.MIGRATE_UNSAFE},
		{p.Tunnelled, lv.MIGRATE_TUNNELLED},
		{p.Persist, lv.MIGRATE_PERSIST_DEST},
		{p.UndefineSource, lv.MIGRATE_UNDEFINE_SOURCE},
		{p.CopyAll, lv.MIGRATE_NON_SHARED_DISK},
		{p.CopyInc, lv.MIGRATE_NON_SHARED_INC},
		{p.SyncWrites, lv.MIGRATE_NON_SHARED_SYNCHRONOUS_WRITES},
		{p.Compressed, lv.MIGRATE_COMPRESSED},
		{p.PostCopy || p.Recover, lv.MIGRATE_POSTCOPY},
		{p.PostCopy || p.Recover, lv.MIGRATE_CHANGE_PROTECTION}, // without which libvirt refuses to continue
		{p.Recover, lv.MIGRATE_POSTCOPY_RESUME},
		{p.TLS, lv.MIGRATE_TLS},
		{p.Parallel, lv.MIGRATE_PARALLEL},
		{p.ZeroCopy, lv.MIGRATE_ZEROCOPY},
	} {
		if f.on {
			flags |= f.flag
		}
	}
	return flags, lv.DomainMigrateParameters{
		URI: p.URI, URISet: p.URI != "",
		// The binding bounds the post-copy phase together with this one; SetMaxSpeed parts them.
		Bandwidth: p.Bandwidth, BandwidthSet: p.Bandwidth != 0,
		BandwidthAvailSwitchover: p.Switchover, BandwidthAvailSwitchoverSet: p.Switchover != 0,
		ParallelConnections: p.Connections, ParallelConnectionsSet: p.Connections != 0,
		MigrateDisks: p.Disks, MigrateDisksSet: len(p.Disks) > 0,
		DisksPort: p.DisksPort, DisksPortSet: p.DisksPort != 0,
		DisksURI: p.DisksURI, DisksURISet: p.DisksURI != "",
		ListenAddress: p.ListenAddress, ListenAddressSet: p.ListenAddress != "",
		GraphicsURI: p.GraphicsURI, GraphicsURISet: p.GraphicsURI != "",
		TLSDestination: p.TLSDestination, TLSDestinationSet: p.TLSDestination != "",
		Compression: p.Compression, CompressionSet: p.Compression != "",
		CompressionXBZRLECache: p.XBZRLECache, CompressionXBZRLECacheSet: p.XBZRLECache != 0,
		AutoConvergeInitial: p.ConvergeInitial, AutoConvergeInitialSet: p.ConvergeInitial != 0,
		AutoConvergeIncrement: p.ConvergeIncrement, AutoConvergeIncrementSet: p.ConvergeIncrement != 0,
	}
}

// SetMaxDowntime sets how long the last copy may take, with the guest paused, before
// QEMU dares to switch over. It works on a running domain before a migration as well
// as during one. Resolution is a millisecond, and 1 ms the least.
func (c Migrations) SetMaxDowntime(ctx context.Context, name string, limit time.Duration) error {
	ms := uint64(max(limit.Milliseconds(), 1))
	return doDomain(ctx, c.session, "set downtime limit of", name, func(d *lv.Domain) error {
		return d.MigrateSetMaxDowntime(ms, 0)
	})
}

// StartPostCopy switches the migration under way, which was begun with PostCopy, to that
// phase: the guest continues at the target at once, and gets the pages that are missing there as it
// touches them. From here it cannot be aborted, and both hosts are needed until it is
// done (virDomainMigrateStartPostCopy). It returns when the switch was requested.
func (c Migrations) StartPostCopy(ctx context.Context, name string) error {
	return doDomain(ctx, c.session, "switch to post-copy the migration of", name, func(d *lv.Domain) error {
		return d.MigrateStartPostCopy(0)
	})
}

// SetMaxSpeed bounds what a migration may send, in MiB/s, of one under way or of those to come;
// postCopy bounds that phase, where 0 is no limit, in place of the one before (virDomainMigrateSetMaxSpeed).
func (c Migrations) SetMaxSpeed(ctx context.Context, name string, mibs uint64, postCopy bool) error {
	var flags lv.DomainMigrateMaxSpeedFlags
	if postCopy {
		flags = lv.MIGRATE_MAX_SPEED_POSTCOPY
	}
	return doDomain(ctx, c.session, "set migration speed of", name, func(d *lv.Domain) error {
		return d.MigrateSetMaxSpeed(mibs, flags)
	})
}

// AbortJob asks libvirt to stop the domain's migration. The migration call then
// returns an error and the domain continues at the source.
func (c Migrations) AbortJob(ctx context.Context, name string) error {
	return doDomain(ctx, c.session, "abort migration of", name, (*lv.Domain).AbortJob)
}

// AbortPostCopy ends the job of a migration in its post-copy phase: what is left of it is paused until it is
// recovered, by MigrateToURI3 with Recover (virDomainAbortJobFlags).
func (c Migrations) AbortPostCopy(ctx context.Context, name string) error {
	return doDomain(ctx, c.session, "abort post-copy of", name, func(d *lv.Domain) error {
		return d.AbortJobFlags(lv.DOMAIN_ABORT_JOB_POSTCOPY)
	})
}

// JobStats asks for the job that is under way; Active is false when there is none.
func (c Migrations) JobStats(ctx context.Context, name string) (libvirt.JobStats, error) {
	return c.jobStats(ctx, name, 0)
}

// CompletedJob asks for the statistics of the last job that ended, which libvirt
// keeps with the domain: after a migration, at the target.
func (c Migrations) CompletedJob(ctx context.Context, name string) (libvirt.JobStats, error) {
	return c.jobStats(ctx, name, lv.DOMAIN_JOB_STATS_COMPLETED|lv.DOMAIN_JOB_STATS_KEEP_COMPLETED)
}

func (c Migrations) jobStats(
	ctx context.Context, name string, flags lv.DomainGetJobStatsFlags,
) (libvirt.JobStats, error) {
	return withDomain(ctx, c.session, "job statistics of", name, func(d *lv.Domain) (libvirt.JobStats, error) {
		info, err := d.GetJobStats(flags)
		if err != nil {
			return libvirt.JobStats{}, err
		}
		return jobStatsOf(info), nil
	})
}

func jobStatsOf(i *lv.DomainJobInfo) libvirt.JobStats {
	return libvirt.JobStats{
		Active:    i.Type == lv.DOMAIN_JOB_BOUNDED || i.Type == lv.DOMAIN_JOB_UNBOUNDED,
		Elapsed:   time.Duration(i.TimeElapsed) * time.Millisecond,
		Total:     i.MemTotal,
		Processed: i.MemProcessed,
		Pages:     i.MemNormalBytes,
		Remaining: i.MemRemaining,
		Rate:      i.MemBps,
		DirtyRate: i.MemDirtyRate * i.MemPageSize, // libvirt counts pages here
		Iteration: int(i.MemIteration),
		Throttle:  i.AutoConvergeThrottle,
		Downtime:  time.Duration(i.Downtime) * time.Millisecond,
		XBZRLE:    xbzrleOf(i),
		Disks: libvirt.DiskStats{Total: i.DiskTotal, Processed: i.DiskProcessed, Remaining: i.DiskRemaining,
			Rate: i.DiskBps},
	}
}

// xbzrleOf is zero of a job without it.
func xbzrleOf(i *lv.DomainJobInfo) libvirt.XBZRLEStats {
	if !i.CompressionPagesSet {
		return libvirt.XBZRLEStats{}
	}
	return libvirt.XBZRLEStats{Pages: i.CompressionPages, Bytes: i.CompressionBytes, Misses: i.CompressionCacheMisses,
		Overflows: i.CompressionOverflow, Page: i.MemPageSize}
}
