package logind

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	destination = "org.freedesktop.login1"
	objectPath  = dbus.ObjectPath("/org/freedesktop/login1")
	manager     = destination + ".Manager"
	busName     = "org.freedesktop.DBus"

	// callTimeout bounds each call: logind answers in milliseconds, and one
	// that has not answered by then must be reached over a new connection.
	callTimeout = 10 * time.Second
)

// systemAddress is where the system bus is (D-Bus specification, "System message bus").
const systemAddress = "unix:path=/var/run/dbus/system_bus_socket"

// bus is a connection to the system bus through a [gate].
type bus struct {
	*dbus.Conn
	gate *gate
}

// settings say what a connection is for.
type settings struct {
	fds     bool                // file descriptors are to come
	refused func(sender string) // see gate
	signals dbus.SignalHandler  // nil: godbus' own
}

// connect makes a connection of its own to the system bus, on which nobody but the bus is heard yet.
func connect(ctx context.Context, s settings) (*bus, error) {
	b, err := within(ctx, func() (*bus, error) { return open(s) }, (*bus).close)
	if err != nil {
		return nil, fmt.Errorf("connect to the system bus: %w", err)
	}
	return b, nil
}

// connectTo is connect, and hears the owner of a name too.
func connectTo(ctx context.Context, name string, s settings) (*bus, error) {
	b, err := connect(ctx, s)
	if err != nil {
		return nil, err
	}
	if err := b.find(ctx, name); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func open(s settings) (*bus, error) {
	socket, err := socketOf(os.Getenv("DBUS_SYSTEM_BUS_ADDRESS"))
	if err != nil {
		return nil, err
	}
	c, err := (&net.Dialer{Timeout: callTimeout}).Dial("unix", socket)
	if err != nil {
		return nil, err
	}
	conn, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("%T is not a unix socket", c), c.Close())
	}
	// A bus that is full of others' half-made connections may not answer; nothing of ours is left waiting then.
	_ = conn.SetDeadline(time.Now().Add(callTimeout))
	b, err := greet(conn, s)
	_ = conn.SetDeadline(time.Time{})
	return b, err
}

// greet makes a socket a connection to the bus; where it cannot, it closes it.
func greet(conn *net.UnixConn, s settings) (*bus, error) {
	g := &gate{UnixConn: conn, fds: s.fds, refused: s.refused}
	var options []dbus.ConnOption
	if s.signals != nil {
		options = append(options, dbus.WithSignalHandler(s.signals))
	}
	c, err := dbus.NewConn(g, options...)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	b := &bus{Conn: c, gate: g}
	// The number of the user, not his name, which would have to be looked up.
	if err := c.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Geteuid()))}); err != nil {
		b.close()
		return nil, err
	}
	if err := c.Hello(); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *bus) close() { shut(b.end()) }

// end closes the connection and returns the file descriptors that came with answers, which are the caller's to close.
func (b *bus) end() []int {
	_ = b.Close() // all that it was for is done
	if !b.gate.begun {
		return nil
	}
	<-b.gate.ended
	shut(b.gate.queue)
	return b.gate.taken
}

// socketOf finds the socket in a bus's address (D-Bus specification, "Server Addresses"); abstract ones begin with "@".
func socketOf(address string) (string, error) {
	if address == "" {
		address = systemAddress
	}
	for one := range strings.SplitSeq(address, ";") {
		keys, ok := strings.CutPrefix(one, "unix:")
		if !ok {
			continue
		}
		for pair := range strings.SplitSeq(keys, ",") {
			key, value, _ := strings.Cut(pair, "=")
			value, err := dbus.UnescapeBusAddressValue(value)
			switch {
			case err != nil:
			case key == "path":
				return value, nil
			case key == "abstract":
				return "@" + value, nil
			}
		}
	}
	return "", fmt.Errorf("the address %q has no unix socket: check DBUS_SYSTEM_BUS_ADDRESS", address)
}

// find asks the bus who owns a name, has it started where nobody does, and hears that one from now on. Where the owner
// changed since, and somebody has called gate.trust, that holds.
func (b *bus) find(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	owner, err := b.owner(ctx, name)
	var none dbus.Error
	if errors.As(err, &none) && none.Name == busName+".Error.NameHasNoOwner" {
		err = b.BusObject().CallWithContext(ctx, busName+".StartServiceByName", 0, name, uint32(0)).Err
		if err == nil {
			owner, err = b.owner(ctx, name)
		}
	}
	if err != nil {
		return fmt.Errorf("find %q on the system bus: %w", name, err)
	}
	b.gate.peer.CompareAndSwap(nil, &owner)
	return nil
}

func (b *bus) owner(ctx context.Context, name string) (owner string, err error) {
	err = b.BusObject().CallWithContext(ctx, busName+".GetNameOwner", 0, name).Store(&owner)
	return owner, err
}

// DelayMax asks logind, over a connection of its own, how long it waits for
// delay locks (InhibitDelayMaxSec in logind.conf(5)).
func DelayMax(ctx context.Context) (time.Duration, error) {
	b, err := connectTo(ctx, destination, settings{})
	if err != nil {
		return 0, err
	}
	defer b.close()
	return delayMax(ctx, b.Conn)
}

func delayMax(ctx context.Context, conn *dbus.Conn) (time.Duration, error) {
	var usec uint64
	err := property(ctx, conn, "InhibitDelayMaxUSec", &usec)
	return microseconds(usec), err
}

func property(ctx context.Context, conn *dbus.Conn, name string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	call := conn.Object(destination, objectPath).CallWithContext(ctx,
		"org.freedesktop.DBus.Properties.Get", 0, manager, name)
	if err := call.Store(into); err != nil {
		return fmt.Errorf("read logind's %s: %w", name, err)
	}
	return nil
}

// microseconds converts systemd's unit; its "infinity" becomes the longest
// duration there is.
func microseconds(usec uint64) time.Duration {
	const longest = time.Duration(1<<63 - 1)
	if usec > uint64(longest/time.Microsecond) {
		return longest
	}
	return time.Duration(usec) * time.Microsecond
}

// within bounds a call that knows no context. What the call yields after its
// time is up is thrown away with discard.
func within[T any](ctx context.Context, call func() (T, error), discard func(T)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		v, err := call()
		done <- result{v, err}
	}()
	defer cancel()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		go func() {
			if r := <-done; r.err == nil {
				discard(r.value)
			}
		}()
		var none T
		return none, ctx.Err()
	}
}
