package logind

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/godbus/dbus/v5"
)

// inhibitor is one entry of logind's ListInhibitors (org.freedesktop.login1(5)),
// in the order of its fields.
type inhibitor struct {
	What, Who, Why, Mode string
	UID, PID             uint32
}

// libxl is the name under which libvirt's driver for Xen holds its lock.
const libxl = "Libvirt Xen"

// countsDomain0 tells whether it is the lock that libvirt's driver for Xen holds while it knows of a running domain.
// Domain 0 is one to libvirt 11, so the lock is held from the daemon's start to its end.
func (i inhibitor) countsDomain0() bool {
	return i.Who == libxl && i.Mode == "delay" && slices.Contains(strings.Split(i.What, ":"), "shutdown")
}

// FreeDomain0 has systemd restart the libvirt daemon that holds back the shutdown because domain 0 runs; the
// caller knows that no guest does. The daemon that comes back gets no lock as long as the shutdown
// is announced. Nil, with nothing done, where no daemon holds such a lock: everywhere but on Xen.
func (System) FreeDomain0(ctx context.Context) error {
	holders, err := inhibitors(ctx)
	if err != nil {
		return err
	}
	for _, i := range holders {
		if !i.countsDomain0() {
			continue
		}
		if err := restart(ctx, i.PID); err != nil {
			return fmt.Errorf("take the delay lock of %q away: %w", i.Who, err)
		}
	}
	return nil
}

// inhibitors asks logind who holds locks.
func inhibitors(ctx context.Context) ([]inhibitor, error) {
	conn, err := within(ctx, func() (*dbus.Conn, error) {
		return dbus.ConnectSystemBus()
	}, func(c *dbus.Conn) { c.Close() })
	if err != nil {
		return nil, fmt.Errorf("connect to the system bus: %w", err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var all []inhibitor
	if err := conn.Object(destination, objectPath).CallWithContext(ctx, manager+".ListInhibitors", 0).Store(&all); err != nil {
		return nil, fmt.Errorf("ask logind who holds locks: %w", err)
	}
	return all, nil
}

// restart queues a restart of the unit that a process belongs to, if that runs still.
func restart(ctx context.Context, pid uint32) error {
	conn, err := dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	unit, err := conn.GetUnitNameByPID(ctx, pid)
	if err != nil {
		return fmt.Errorf("find the unit of process %d: %w", pid, err)
	}
	if _, err := conn.TryRestartUnitContext(ctx, unit, "replace", nil); err != nil {
		return fmt.Errorf("restart %q: %w", unit, err)
	}
	return nil
}
