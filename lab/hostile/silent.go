package hostile

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vmferry/vmferry/migrate/wait"
)

// silent keeps connections to a service that never say anything, and makes each again that the service closes:
//
//	silent [--connections N] HOST:PORT
//	silent [--connections N] /SOCKET
//
// When it ends, it prints how many were made.
func silent(ctx context.Context, args []string, out io.Writer, ready func()) error {
	flags := flag.NewFlagSet("silent", flag.ContinueOnError)
	connections := flags.Int("connections", 300, "")
	if err := parse(flags, args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return errors.New("silent: name the service")
	}
	var made atomic.Int64
	var first, all sync.WaitGroup
	for range *connections {
		first.Add(1)
		all.Go(func() { hold(ctx, flags.Arg(0), &made, sync.OnceFunc(first.Done)) })
	}
	first.Wait()
	ready()
	all.Wait()
	fmt.Fprintf(out, "%d connections\n", made.Load())
	return nil
}

// hold keeps one connection. tried is called when it was tried to make it.
func hold(ctx context.Context, address string, made *atomic.Int64, tried func()) {
	defer tried()
	dialer, network := net.Dialer{Timeout: 2 * time.Second}, "tcp"
	if strings.HasPrefix(address, "/") {
		network = "unix"
	}
	for ctx.Err() == nil {
		conn, err := dialer.DialContext(ctx, network, address)
		if err == nil {
			made.Add(1)
			tried()
			stop := context.AfterFunc(ctx, func() { conn.Close() })
			_, _ = io.Copy(io.Discard, conn) // until it is closed, by either side
			stop()
			conn.Close()
		}
		tried()
		_ = wait.For(ctx, time.Second)
	}
}
