package announcement

import (
	"context"
	"net/netip"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/hbplugin/ring"
	"github.com/vmferry/vmferry/migrate/announce"
	"github.com/vmferry/vmferry/migrate/libvirt/client"
	"github.com/vmferry/vmferry/resource/notes"
)

// Once announces a guest that runs here, a few times in quick succession ([announce.Brief]). It returns when that is
// done or ctx ends; the error is what kept it from beginning. runDir has the agent's notes.
func Once(ctx context.Context, log logrus.FieldLogger, runDir string, e notes.Expected) error {
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
