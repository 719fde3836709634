package client

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	lv "libvirt.org/go/libvirt"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

func TestSaveAndRestore(t *testing.T) {
	c, ctx := testConn(t), t.Context()
	if err := c.Create(ctx, strings.ReplaceAll(guestXML, "fresh", "saved")); err != nil {
		t.Fatal(err)
	}
	if info, err := c.Info(ctx, "saved"); err != nil || info.CPUs != 1 || info.MaxMemory != 1024 || info.Memory != 1024 {
		t.Errorf("info = %+v, %v", info, err)
	}
	if xml, err := c.Definition(ctx, "saved"); err != nil || !strings.Contains(xml, "<name>saved</name>") ||
		strings.Contains(xml, "id='") {
		t.Errorf("definition = %q, %v", xml, err)
	}
	file := filepath.Join(t.TempDir(), "saved.state")
	if err := c.Save(ctx, "saved", file); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Status(ctx, "saved"); !errors.Is(err, libvirt.ErrNoDomain) {
		t.Errorf("after save: %v, want ErrNoDomain", err)
	}
	if err := c.Restore(ctx, file, ""); err != nil {
		t.Fatal(err)
	}
	if s, err := c.Status(ctx, "saved"); err != nil || s.State != libvirt.Running {
		t.Errorf("after restore: %+v, %v", s, err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("restore removed the file: %v", err)
	}
	if err := c.Destroy(ctx, "saved"); err != nil {
		t.Fatal(err)
	}
	if err := c.Restore(ctx, file+".none", ""); err == nil {
		t.Error("restored from a file that is not there")
	}
	for name, err := range map[string]error{"save": c.Save(ctx, "nobody", file), "info": second(c.Info(ctx, "nobody")),
		"definition": second(c.Definition(ctx, "nobody"))} {
		if !errors.Is(err, libvirt.ErrNoDomain) {
			t.Errorf("%s of nobody: %v, want ErrNoDomain", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// All connections of a process share the test driver's host, with network "default" and pool "default-pool".
func TestStartResources(t *testing.T) {
	c, ctx := testConn(t), t.Context()
	network, err := c.lv.LookupNetworkByName("default")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = network.Free() }()
	pool, err := c.lv.LookupStoragePoolByName("default-pool")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pool.Free() }()
	for range 2 { // what is active may be started again
		if err := errors.Join(c.StartNetwork(ctx, "default"), c.StartPool(ctx, "default-pool")); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(network.Destroy(), pool.Destroy()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.StartNetwork(ctx, "default"), c.StartPool(ctx, "default-pool")); err != nil {
		t.Fatal(err)
	}
	up, err := network.IsActive()
	up2, err2 := pool.IsActive()
	if !up || !up2 || err != nil || err2 != nil {
		t.Errorf("network active: %v, %v; pool active: %v, %v", up, err, up2, err2)
	}
	for what, err := range map[string]error{"network": c.StartNetwork(ctx, "none"), "pool": c.StartPool(ctx, "none")} {
		if err == nil || !strings.Contains(err.Error(), "none") {
			t.Errorf("a %s that is not there: %v", what, err)
		}
	}
}

func TestDriverCannot(t *testing.T) {
	c, ctx := testConn(t), t.Context()
	if err := c.AgentPing(ctx, "test"); !errors.Is(err, libvirt.ErrUnsupported) {
		t.Errorf("a guest agent of the test driver: %v, want ErrUnsupported", err)
	}
	if xml, err := c.DomainXML(ctx, libvirt.NativeXL, "name='vm1'"); !errors.Is(err, libvirt.ErrUnsupported) {
		t.Errorf("an xl configuration by the test driver: %q, %v, want ErrUnsupported", xml, err)
	}
}

func TestShutdownFlags(t *testing.T) {
	for _, mode := range libvirt.ShutdownModes {
		if flags, err := shutdownFlags(mode); err != nil || flags == lv.DOMAIN_SHUTDOWN_DEFAULT {
			t.Errorf("mode %s is %d, %v", mode, flags, err)
		}
	}
	if flags, err := shutdownFlags("acpi,agent"); err != nil ||
		flags != lv.DOMAIN_SHUTDOWN_ACPI_POWER_BTN|lv.DOMAIN_SHUTDOWN_GUEST_AGENT {
		t.Errorf("two modes are %d, %v", flags, err)
	}
	if flags, err := shutdownFlags("acpi,hope"); err == nil {
		t.Errorf("an unknown mode is %d", flags)
	}
}

func TestMigration(t *testing.T) {
	const usual = lv.MIGRATE_LIVE | lv.MIGRATE_PEER2PEER | lv.MIGRATE_ABORT_ON_ERROR
	flags, params := migration(libvirt.MigrateParams{}, libvirt.DriverOf("qemu:///system"))
	if flags != usual || params.URISet || params.BandwidthSet || params.ParallelConnectionsSet ||
		params.MigrateDisksSet || params.CompressionSet {
		t.Errorf("no options: %b, %+v", flags, params)
	}
	var o libvirt.MigrateOptions
	o.CopyInc, o.Parallel, o.Connections, o.Disks, o.Compression = true, true, 4, []string{"vda"}, "zstd"
	flags, params = migration(libvirt.MigrateParams{URI: "tcp://x", Bandwidth: 7, AutoConverge: true, Unsafe: true,
		MigrateOptions: o}, libvirt.DriverOf("qemu:///system"))
	if want := usual | lv.MIGRATE_AUTO_CONVERGE | lv.MIGRATE_UNSAFE | lv.MIGRATE_NON_SHARED_INC | lv.MIGRATE_PARALLEL; flags != want {
		t.Errorf("flags %b, want %b", flags, want)
	}
	if !params.URISet || params.Bandwidth != 7 || !params.ParallelConnectionsSet || params.ParallelConnections != 4 ||
		len(params.MigrateDisks) != 1 || !params.MigrateDisksSet || params.Compression != "zstd" {
		t.Errorf("parameters %+v", params)
	}
}

func TestMigrationLevers(t *testing.T) {
	levers := lv.MIGRATE_LIVE | lv.MIGRATE_PEER2PEER | lv.MIGRATE_ABORT_ON_ERROR | lv.MIGRATE_POSTCOPY | lv.MIGRATE_CHANGE_PROTECTION
	cases := []struct {
		name   string
		params libvirt.MigrateParams
		want   lv.DomainMigrateFlags
	}{
		{"post-copy allowed", libvirt.MigrateParams{MigrateOptions: libvirt.MigrateOptions{PostCopy: true}}, levers},
		{"post-copy to be gone on with", libvirt.MigrateParams{Recover: true}, levers | lv.MIGRATE_POSTCOPY_RESUME},
	}
	for _, c := range cases {
		if flags, _ := migration(c.params, libvirt.DriverOf("qemu:///system")); flags != c.want {
			t.Errorf("%s: flags %b, want %b", c.name, flags, c.want)
		}
	}
	_, params := migration(libvirt.MigrateParams{AutoConverge: true,
		MigrateOptions: libvirt.MigrateOptions{ConvergeInitial: 40, ConvergeIncrement: 20}},
		libvirt.DriverOf("qemu:///system"))
	if !params.AutoConvergeInitialSet || params.AutoConvergeInitial != 40 || !params.AutoConvergeIncrementSet ||
		params.AutoConvergeIncrement != 20 {
		t.Errorf("parameters %+v", params)
	}
}

// Xen's driver refuses a migration with a flag that it does not know, whoever set it.
func TestMigrationOfXen(t *testing.T) {
	flags, _ := migration(libvirt.MigrateParams{}, libvirt.DriverOf("xen:///system"))
	if want := lv.MIGRATE_LIVE | lv.MIGRATE_PEER2PEER; flags != want {
		t.Errorf("flags %b, want %b", flags, want)
	}
}
