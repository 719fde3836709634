package logind

import (
	"context"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/vmferry/vmferry/hbplugin/logind/logindtest"
)

// The real systemd is asked over the bus, as root's own socket is not there.
func TestSystemdUnit(t *testing.T) {
	bus := logindtest.StartBus(t)
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.Address())
	conn := bus.Dial()
	props := map[string]dbus.Variant{
		"LoadState": dbus.MakeVariant("loaded"), "ActiveState": dbus.MakeVariant("active"),
		"UnitFileState": dbus.MakeVariant("enabled"),
		"StatusText":    dbus.MakeVariant("watching"), "NeedDaemonReload": dbus.MakeVariant(true),
		"After": dbus.MakeVariant([]string{"libvirtd.service", "dbus.socket"}),
	}
	var mu sync.Mutex
	getAll := func(string) (map[string]dbus.Variant, *dbus.Error) {
		mu.Lock()
		defer mu.Unlock()
		return maps.Clone(props), nil
	}
	path := dbus.ObjectPath("/org/freedesktop/systemd1/unit/vmferryd_2eservice")
	if err := conn.ExportMethodTable(map[string]any{"GetAll": getAll}, path,
		"org.freedesktop.DBus.Properties"); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.RequestName("org.freedesktop.systemd1", 0); err != nil {
		t.Fatal(err)
	}
	u, err := System{}.Unit(context.Background(), "vmferryd.service")
	if err != nil || !u.Loaded || !u.Active || !u.Enabled || !u.Stale || u.Status != "watching" ||
		!slices.Contains(u.After, "libvirtd.service") {
		t.Errorf("%+v, %v", u, err)
	}
	mu.Lock()
	props["UnitFileState"], props["LoadState"] = dbus.MakeVariant("disabled"), dbus.MakeVariant("not-found")
	mu.Unlock()
	if u, err = (System{}).Unit(context.Background(), "vmferryd.service"); err != nil || u.Loaded || u.Enabled {
		t.Errorf("not installed: %+v, %v", u, err)
	}
	if _, err := (System{}).Unit(context.Background(), "other.service"); err == nil {
		t.Error("no answer is no error")
	}
}
