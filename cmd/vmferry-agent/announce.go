package main

import (
	"context"
	"net/netip"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/hbplugin/ring"
	"github.com/vmferry/vmferry/migrate/announce"
	"github.com/vmferry/vmferry/migrate/libvirt/client"
	"github.com/vmferry/vmferry/resource/notes"
)

// announcer announces guests to the network, a few times in quick succession. What hinders it is
// logged, and fails nothing.
func announcer(log logrus.FieldLogger, runDir string) func(context.Context, notes.Expected) {
	return func(ctx context.Context, e notes.Expected) {
		if err := announceOnce(ctx, log, runDir, e); err != nil {
			log.WithError(err).Warn("the guest is not announced to the network by this action")
		}
	}
}

func announceOnce(ctx context.Context, log logrus.FieldLogger, runDir string, e notes.Expected) error {
	setting, err := announce.ParseSetting(e.Announce)
	if err != nil {
		return err
	}
	socket, err := announce.Open()
	if err != nil {
		return err
	}
	defer func() { _ = socket.Close() }()
	conn, err := client.Open(ctx, e.URI)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	nodes := ring.Reader{Also: func(node string) []string { return []string{e.MigrationHost(node)} }}
	a := announce.Announcer{
		Send: socket.Send, Schedule: announce.Brief, Log: log, Memory: new(announce.Memory), Peers: nodes.Addresses,
		Others: func() map[netip.Addr]string { return notes.Open(runDir, "").ConfiguredAddresses() },
	}
	plan, err := a.Prepare(ctx, conn, e.Guest, setting)
	if err != nil {
		return err
	}
	a.Announce(ctx, plan, func(ctx context.Context) (announce.Plan, error) {
		return a.Refine(ctx, conn, e.Guest, setting)
	})
	return nil
}
