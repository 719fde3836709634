package logind

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
)

// inhibitor is one entry of logind's ListInhibitors (org.freedesktop.login1(5)),
// in the order of its fields.
type inhibitor struct {
	What, Who, Why, Mode string
	UID, PID             uint32
}

// delays reports whether a shutdown waits for it.
func (i inhibitor) delays() bool {
	return i.Mode == "delay" && slices.Contains(strings.Split(i.What, ":"), "shutdown")
}

// targets are what logind starts in the end, by the kind of shutdown that it announced.
var targets = map[string]string{
	"poweroff": "poweroff.target", "reboot": "reboot.target", "halt": "halt.target",
	"kexec": "kexec.target", "soft-reboot": "soft-reboot.target",
}

// errKind is why a shutdown has to wait although nobody needs that.
var errKind = errors.New("libvirt delays the shutdown for the guests that it runs, and logind did not report " +
	"what kind of shutdown it is (systemd before 255 does not)")

const (
	// othersAgain is how often it is looked who still holds the shutdown.
	othersAgain = 500 * time.Millisecond
	// irreversibly is the mode in which logind queues a shutdown.
	irreversibly = "replace-irreversibly"
)

// Proceed continues with an announced shutdown, of the kind that [Event] told of, as soon as nobody but idle libvirt
// daemons holds it any more: by systemd's target, as logind would do when its limit is over. It is for a caller who has
// raised that limit, and waited for all that would leave. A libvirt daemon holds a delay lock while anything runs
// under it, on Xen because of domain 0 alone, and the rest of the limit would pass for nothing; a daemon that saves its
// guests or shuts them down meanwhile ([AutoShutdown]) is waited for. started is false where logind continued by
// itself, or the shutdown was called off. An error says that it could not be told what is waited for, or that ctx
// ended.
func (s System) Proceed(ctx context.Context, kind string) (started bool, err error) {
	b, err := connectTo(ctx, destination, settings{})
	if err != nil {
		return false, err
	}
	defer b.close()
	tick := time.NewTicker(othersAgain)
	defer tick.Stop()
	for {
		holders, err := delayers(ctx, b.Conn)
		if err != nil {
			return false, err
		}
		if len(holders) == 0 {
			return false, nil
		}
		idle, err := s.allIdle(holders)
		if err != nil {
			return false, err
		}
		if idle {
			return start(ctx, kind)
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-tick.C:
		}
	}
}

func (s System) allIdle(holders []inhibitor) (bool, error) {
	for _, i := range holders {
		if idle, err := s.idle(i); err != nil || !idle {
			return false, err
		}
	}
	return true, nil
}

// delayers are the locks that an announced shutdown waits for: none where none is announced.
func delayers(ctx context.Context, conn *dbus.Conn) ([]inhibitor, error) {
	var preparing bool
	if err := property(ctx, conn, "PreparingForShutdown", &preparing); err != nil || !preparing {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var all []inhibitor
	if err := conn.Object(destination, objectPath).CallWithContext(ctx, manager+".ListInhibitors",
		0).Store(&all); err != nil {
		return nil, fmt.Errorf("ask logind who has locks: %w", err)
	}
	return slices.DeleteFunc(all, func(i inhibitor) bool { return !i.delays() }), nil
}

// start queues the target of a kind of shutdown.
func start(ctx context.Context, kind string) (started bool, err error) {
	target, ok := targets[kind]
	if !ok {
		return false, errKind
	}
	conn, err := Dial(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	if _, err := conn.StartUnitContext(ctx, target, irreversibly, nil); err != nil {
		return false, fmt.Errorf("start %q: %w", target, err)
	}
	return true, nil
}
