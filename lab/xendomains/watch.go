package xendomains

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"
)

// ProgramName is the file name under which the lab's program is [Main].
const ProgramName = "domains_lab"

// Period is between two looks, and Heartbeat the longest time between two lines.
// A look costs an emulated dom0 nearly two milliseconds of its processor.
const (
	Period    = 50 * time.Millisecond
	Heartbeat = 250 * time.Millisecond
)

// memoryLimit starts the garbage collector, which is otherwise off: dom0's
// processor is emulated, and the guests share it.
const memoryLimit = 16 << 20

// Main reports the domains whoever connects to the TCP address, which is its
// one argument. It ends with ctx, or because it cannot ask the hypervisor, and
// returns the program's exit code. Complaints go to problem.
func Main(ctx context.Context, args []string, problem io.Writer) int {
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(memoryLimit)
	if err := serve(ctx, args); err != nil {
		fmt.Fprintln(problem, ProgramName+":", err)
		return 1
	}
	return 0
}

// serve tells one listener at a time: the lab has one.
func serve(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return errors.New("name the address to listen on, such as :7010")
	}
	h, err := openHypervisor()
	if err != nil {
		return err
	}
	if _, err := h.domains(); err != nil {
		return err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", args[0])
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { l.Close() })()
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		// It ends when nobody reads any more; the next one may have come already.
		_ = watch(ctx, h.domains, monotonic, deadlined{conn})
		conn.Close()
	}
}

// deadlined is a connection on which a write that nobody takes fails.
type deadlined struct{ net.Conn }

// Write is as in [net.Conn].
func (d deadlined) Write(b []byte) (int, error) {
	if err := d.SetWriteDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return 0, err
	}
	return d.Conn.Write(b)
}

// watch looks in every period and writes what is to be written. It ends with ctx,
// with no error, or because a look or a write failed.
func watch(ctx context.Context, look func() ([]Domain, error), now func() time.Duration, out io.Writer) error {
	tick := time.NewTicker(Period)
	defer tick.Stop()
	lines := json.NewEncoder(out)
	var last Look
	var written time.Duration
	for {
		found, err := look()
		if err != nil {
			return err
		}
		next := Look{At: now(), Before: last.At, Domains: found}
		if last.At == 0 || !next.equal(last) || next.At-written >= Heartbeat {
			if err := lines.Encode(next); err != nil {
				return fmt.Errorf("write the domains: %w", err)
			}
			written = next.At
		}
		last = next
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// monotonic is the time since the kernel's start.
func monotonic() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
