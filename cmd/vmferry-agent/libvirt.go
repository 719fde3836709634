package main

import (
	"context"
	"path/filepath"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/libvirt/client"
	"github.com/vmferry/vmferry/resource"
	"github.com/vmferry/vmferry/resource/witness"
)

const recordsFile = "migrations.jsonl"

// open connects to libvirt.
func open(ctx context.Context, uri string) (resource.Hypervisor, error) {
	c, err := client.Open(ctx, uri)
	if err != nil {
		return nil, err // not c: a nil *Conn is a Hypervisor that is not nil
	}
	return c, nil
}

// openHost connects to one end of a migration.
func openHost(ctx context.Context, uri string) (migrate.Host, error) {
	c, err := client.Open(ctx, uri)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// migrator makes the real move and appends its record, of a failed one too. step, where
// not nil, is told each of its phases.
func migrator(log logrus.FieldLogger, host witness.Host, stateDir string, step func(string)) func(context.Context, resource.Move) error {
	return func(ctx context.Context, m resource.Move) error {
		deps := migrate.Deps{Log: log, Open: openHost}
		deps.Gone = func(ctx context.Context, guest, uuid string) (bool, error) {
			found, err := host.Find(ctx, guest, uuid)
			return err == nil && len(found) == 0, err
		}
		record, err := migrate.Move(ctx, migrate.Request{
			Guest: m.Guest, UUID: m.UUID, SourceURI: m.SourceURI,
			Target: m.Target, TargetURI: m.TargetURI, MigrateURI: m.MigrateURI,
			Bandwidth: m.Bandwidth, DowntimeLimit: m.Downtime, Adopt: m.Adopt,
			Progress: func(p migrate.Progress) {
				if step != nil {
					step(phase(p))
				}
			},
		}, deps)
		path := filepath.Join(stateDir, recordsFile)
		if werr := migrate.AppendRecord(path, record); werr != nil {
			log.WithError(werr).Warn("the migration's record is lost: make the state directory writable")
		}
		return err
	}
}
