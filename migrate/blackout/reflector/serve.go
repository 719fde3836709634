package reflector

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// DefaultListen is where a reflector listens by default: port 7007
// of every address, IPv6 and IPv4.
const DefaultListen = ":7007"

// Service is how Serve runs.
type Service struct {
	Listen string // HOST:PORT, for UDP and TCP; port 0 takes a free one
	Limits Limits
	// Drop, unless nil, is called when the sockets are open and before the first
	// packet is read; it gives up what privileges there are.
	Drop func() error
}

// Serve listens and answers probes until ctx is cancelled, which is no error,
// or a socket fails. It logs the address.
func Serve(ctx context.Context, s Service, log logrus.FieldLogger) error {
	if err := s.Limits.Validate(); err != nil {
		return err
	}
	udp, tcp, err := Listen(s.Listen)
	if err != nil {
		return err
	}
	if s.Drop != nil {
		if err := s.Drop(); err != nil {
			return errors.Join(fmt.Errorf("drop privileges: %w", err), udp.Close(), tcp.Close())
		}
	}
	log.WithField("address", udp.LocalAddr().String()).Info("answering probes over UDP and TCP")
	r := New(log, s.Limits)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.ServeUDP(ctx, udp) })
	g.Go(func() error { return r.ServeTCP(ctx, tcp) })
	return g.Wait()
}

// listenTries is how many ports are tried when any will do.
const listenTries = 16

// Listen opens the two sockets of a reflector, both on the same port. Port 0 takes
// one that is free for both.
func Listen(addr string) (*net.UDPConn, net.Listener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, nil, fmt.Errorf("listen on %q: %w", addr, err)
	}
	for try := 1; ; try++ {
		udp, tcp, err := listenBoth(addr, host)
		if port != "0" || try == listenTries || !errors.Is(err, unix.EADDRINUSE) {
			return udp, tcp, err
		}
	}
}

// listenBoth lets TCP choose the port: what is free for TCP may be taken for UDP.
func listenBoth(addr, host string) (*net.UDPConn, net.Listener, error) {
	tcp, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, nil, fmt.Errorf("listen for TCP on %q: %w", addr, err)
	}
	port := strconv.Itoa(tcp.Addr().(*net.TCPAddr).Port)
	early := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { keepDestination(int(fd)) })
	}}
	udp, err := early.ListenPacket(context.Background(), "udp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("listen for UDP on %q: %w", addr, err), tcp.Close())
	}
	return udp.(*net.UDPConn), tcp, nil
}
