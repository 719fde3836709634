package client

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// The test driver has networks and pools, and no migration.
func TestNetwork(t *testing.T) {
	c, ctx := testConn(t), t.Context()
	n, err := c.Network(ctx, "default")
	if err != nil || !n.Active || n.XML == "" {
		t.Errorf("%+v, %v", n, err)
	}
	if _, err := c.Network(ctx, "dmz"); !errors.Is(err, libvirt.ErrNoNetwork) {
		t.Errorf("no network: %v", err)
	}
}

func TestNamesLeavesNoPool(t *testing.T) {
	c, ctx := testConn(t), t.Context()
	pools := func() int {
		all, err := c.lv.ListAllStoragePools(0)
		if err != nil {
			t.Fatal(err)
		}
		for i := range all {
			_ = all[i].Free()
		}
		return len(all)
	}
	before := pools()
	_, err := c.Names(ctx, "/sys/class/net") // the test driver looks for a pool by its target without effect, and has no files
	if after := pools(); after != before {
		t.Errorf("%d pools, and %d before; %v", after, before, err)
	}
}

func TestRehearseWithoutMigration(t *testing.T) {
	c, ctx := testConn(t), t.Context()
	for _, managed := range []bool{false, true} {
		if err := c.Rehearse(ctx, "test", "test:///default", libvirt.MigrateParams{Managed: managed}); err == nil {
			t.Errorf("managed %v: libvirt's test driver migrates", managed)
		}
	}
	if err := c.Rehearse(ctx, "nobody", "test:///default", libvirt.MigrateParams{}); !errors.Is(err, libvirt.ErrNoDomain) {
		t.Errorf("nobody: %v", err)
	}
	late, cancel := context.WithTimeout(ctx, -time.Second)
	defer cancel()
	if err := c.Rehearse(late, "test", "test:///default", libvirt.MigrateParams{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("too late: %v", err)
	}
	if err := c.Rehearse(ctx, "test", "nothing:///here", libvirt.MigrateParams{Managed: true}); !errors.Is(err,
		libvirt.ErrConnect) {
		t.Errorf("no target: %v", err)
	}
}

func TestSnapshots(t *testing.T) {
	c, ctx := testConn(t), t.Context()
	if s, err := c.Snapshots(ctx, "test"); err != nil || len(s.Snapshots)+len(s.Checkpoints) != 0 {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := c.Portable(ctx, "test"); err != nil {
		t.Error(err)
	}
}
