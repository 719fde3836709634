package logind

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	systemd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

// System asks systemd's manager (org.freedesktop.systemd1(5)).
type System struct {
	LibvirtDir string // where libvirt's configuration is; empty: /etc/libvirt
}

// Stopping says whether the system is going down: whether systemd's state, as
// "systemctl is-system-running" prints it, is "stopping". That is so from the
// moment a shutdown job is queued, by whatever way it was requested.
func (System) Stopping(ctx context.Context) (bool, error) {
	conn, err := Dial(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	p, err := conn.SystemStateContext(ctx)
	if err != nil {
		return false, fmt.Errorf("read systemd's state: %w", err)
	}
	state, ok := p.Value.Value().(string)
	if !ok {
		return false, fmt.Errorf("read systemd's state: want a string, got %v", p.Value)
	}
	return state == "stopping", nil
}

// StopTimeout returns how long systemd lets the service that this process
// belongs to take to stop (TimeoutStopUSec). It is an error where the process
// belongs to none.
func (System) StopTimeout(ctx context.Context) (time.Duration, error) {
	conn, err := Dial(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	unit, err := conn.GetUnitNameByPID(ctx, uint32(os.Getpid()))
	if err != nil {
		return 0, fmt.Errorf("find the unit of process %d: %w", os.Getpid(), err)
	}
	p, err := conn.GetServicePropertyContext(ctx, unit, "TimeoutStopUSec")
	if err != nil {
		return 0, fmt.Errorf("read TimeoutStopUSec of %q: %w", unit, err)
	}
	usec, ok := p.Value.Value().(uint64)
	if !ok {
		return 0, fmt.Errorf("read TimeoutStopUSec of %q: want a number, got %v", unit, p.Value)
	}
	return microseconds(usec), nil
}

// Deactivating says whether a unit is being stopped, and since when. A unit that systemd does
// not know is not; neither is one that has stopped.
func (System) Deactivating(ctx context.Context, unit string) (since time.Time, stopping bool, err error) {
	conn, err := Dial(ctx)
	if err != nil {
		return time.Time{}, false, err
	}
	defer conn.Close()
	p, err := conn.GetUnitPropertiesContext(ctx, unit)
	if err != nil {
		return time.Time{}, false, fmt.Errorf("read the state of %q: %w", unit, err)
	}
	state, isWord := p["ActiveState"].(string)
	usec, isNumber := p["StateChangeTimestamp"].(uint64)
	if !isWord || !isNumber {
		return time.Time{}, false, fmt.Errorf("read the state of %q: %v since %v is none", unit, p["ActiveState"],
			p["StateChangeTimestamp"])
	}
	return time.UnixMicro(int64(usec)), state == "deactivating", nil
}

// Dial connects to systemd's manager. It prefers systemd's own socket, which needs no message bus and is root's
// alone, to the bus, on which it hears nobody else. The connection is for calls; it gets no signals of units. At the
// end of ctx, or after ten seconds, it gives up.
func Dial(ctx context.Context) (*systemd.Conn, error) {
	return within(ctx, func() (*systemd.Conn, error) {
		conn, err := systemd.NewSystemdConnectionContext(context.Background())
		if err == nil {
			return conn, nil
		}
		conn, err = systemd.NewConnection(func() (*dbus.Conn, error) {
			b, err := connectTo(ctx, "org.freedesktop.systemd1", settings{})
			if err != nil {
				return nil, err
			}
			return b.Conn, nil
		})
		if err != nil {
			return nil, fmt.Errorf("reach systemd: %w", err)
		}
		return conn, nil
	}, (*systemd.Conn).Close)
}

// Unit is what systemd knows of one of its units (org.freedesktop.systemd1(5)).
type Unit struct {
	Loaded   bool   // it is installed
	Active   bool   // it runs, or listens
	Enabled  bool   // it will, after a boot
	State    string // in systemd's word, such as "failed"
	Stale    bool   // its files changed since systemd read them
	After    []string
	Status   string // what the service says of itself
	Bounding uint64 // the capabilities that it may have (capabilities(7)), a bit each
}

// Unit asks systemd about one of its units. One that is not installed is no error.
func (System) Unit(ctx context.Context, name string) (Unit, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	conn, err := Dial(ctx)
	if err != nil {
		return Unit{}, err
	}
	defer conn.Close()
	props, err := conn.GetAllPropertiesContext(ctx, name)
	if err != nil {
		return Unit{}, fmt.Errorf("ask systemd about %q: %w", name, err)
	}
	word := func(name string) string { s, _ := props[name].(string); return s }
	after, _ := props["After"].([]string)
	stale, _ := props["NeedDaemonReload"].(bool)
	bounding, _ := props["CapabilityBoundingSet"].(uint64)
	return Unit{
		Loaded: word("LoadState") == "loaded", Active: word("ActiveState") == "active", State: word("ActiveState"),
		Enabled: slices.Contains([]string{"enabled", "enabled-runtime", "static", "alias"}, word("UnitFileState")),
		After:   after, Stale: stale, Status: word("StatusText"), Bounding: bounding,
	}, nil
}
