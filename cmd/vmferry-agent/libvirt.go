package main

import (
	"context"
	"path/filepath"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource"
	"github.com/vmferry/vmferry/resource/witness"
)

const (
	// defaultStateDir holds what outlives a boot.
	defaultStateDir = "/var/lib/vmferry"
	recordsFile     = "migrations.jsonl"
)

// conn is a libvirt connection as the agent wants it.
type conn struct {
	*libvirt.Conn
	log logrus.FieldLogger
}

// modeShutter is a connection that can be told how to shut a guest down.
type modeShutter interface {
	ShutdownMode(ctx context.Context, name, mode string) error
}

// Shutdown implements resource.Hypervisor.
func (c conn) Shutdown(ctx context.Context, name, mode string) error {
	if mode == "" {
		return c.Conn.Shutdown(ctx, name)
	}
	if s, ok := any(c.Conn).(modeShutter); ok {
		return s.ShutdownMode(ctx, name, mode)
	}
	c.log.Warnf("shutdown_mode=%s has no effect with this build", mode)
	return c.Conn.Shutdown(ctx, name)
}

func open(log logrus.FieldLogger) func(context.Context, string) (resource.Hypervisor, error) {
	return func(ctx context.Context, uri string) (resource.Hypervisor, error) {
		c, err := libvirt.Open(ctx, uri)
		if err != nil {
			return nil, err
		}
		return conn{c, log}, nil
	}
}

// migrator makes the real move and appends its record, of a failed one too.
func migrator(log logrus.FieldLogger, host witness.Host, stateDir string) func(context.Context, resource.Move) error {
	return func(ctx context.Context, m resource.Move) error {
		deps := migrate.Live(log)
		deps.Gone = func(ctx context.Context, guest, uuid string) (bool, error) {
			found, err := host.Find(ctx, guest, uuid)
			return err == nil && len(found) == 0, err
		}
		record, err := migrate.Move(ctx, migrate.Request{
			Guest: m.Guest, UUID: m.UUID, SourceURI: m.SourceURI,
			Target: m.Target, TargetURI: m.TargetURI, MigrateURI: m.MigrateURI,
			Bandwidth: m.Bandwidth, DowntimeLimit: m.Downtime,
		}, deps)
		path := filepath.Join(stateDir, recordsFile)
		if werr := migrate.AppendRecord(path, record); werr != nil {
			log.WithError(werr).Warn("the migration's record is lost: make the state directory writable")
		}
		return err
	}
}
