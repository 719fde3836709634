package proof

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"runtime"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The addresses of both ends, of a range that is for documentation (RFC 5737):
// nothing outside the namespaces has them.
const (
	clientAddr = "192.0.2.1"
	serverAddr = "192.0.2.2"
	serverPort = "7007"
)

// space is a network namespace, and the one thread that is in it. Sockets that
// are opened there, and processes that are started there, stay in it.
type space struct {
	work chan func()
	fd   int
	net  *netlink.Handle
}

// newSpace starts a thread in a namespace of its own. It ends with close.
func newSpace() (*space, error) {
	s := &space{work: make(chan func())}
	failed := make(chan error)
	go func() {
		// Never unlocked: the thread ends with this goroutine, and must not be
		// used by others.
		runtime.LockOSThread()
		failed <- s.enter()
		for f := range s.work {
			f()
		}
	}()
	if err := <-failed; err != nil {
		close(s.work)
		return nil, err
	}
	return s, nil
}

func (s *space) enter() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("%w: unshare: %w", ErrUnsupported, err)
	}
	fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	s.fd = fd
	// Both ends run before what else this machine does, and so do all processes
	// that are started from here: how late one of them is run cannot be told
	// from an outage. Without the right to it, the errors are wider.
	_ = hurry()
	if s.net, err = netlink.NewHandle(); err != nil {
		return errors.Join(fmt.Errorf("%w: netlink: %w", ErrUnsupported, err), unix.Close(fd))
	}
	return nil
}

// hurry lets this thread run before others.
func hurry() error { return unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), -15) }

// do runs f on the thread, and waits for it.
func (s *space) do(f func()) {
	done := make(chan struct{})
	s.work <- func() { defer close(done); f() }
	<-done
}

// close ends the thread; the namespace goes when nothing is in it any more.
func (s *space) close() {
	s.net.Close()
	_ = unix.Close(s.fd)
	close(s.work)
}

// world is both namespaces and the link between them.
type world struct {
	client, server *space
	index          int              // of the server's interface
	mac            net.HardwareAddr // of the client's
}

func newWorld() (*world, error) {
	client, err := newSpace()
	if err != nil {
		return nil, err
	}
	server, err := newSpace()
	if err != nil {
		client.close()
		return nil, err
	}
	w := &world{client: client, server: server}
	if err := w.link(); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func (w *world) close() {
	w.client.close()
	w.server.close()
}

// link joins the namespaces.
func (w *world) link() error {
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "client"}, PeerName: "server", PeerNamespace: netlink.NsFd(w.server.fd)}
	if err := w.client.net.LinkAdd(veth); err != nil {
		return fmt.Errorf("%w: add a veth: %w", ErrUnsupported, err)
	}
	near, err := w.client.address("client", clientAddr)
	if err != nil {
		return err
	}
	far, err := w.server.address("server", serverAddr)
	if err != nil {
		return err
	}
	w.index, w.mac = far.Attrs().Index, near.Attrs().HardwareAddr
	return w.refuse(false)
}

// address gives an interface its address and sets it up, and returns it.
func (s *space) address(name, addr string) (netlink.Link, error) {
	link, err := s.net.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("find interface %q: %w", name, err)
	}
	at, err := netlink.ParseAddr(addr + "/24")
	if err != nil {
		return nil, fmt.Errorf("address of interface %q: %w", name, err)
	}
	if err := errors.Join(s.net.AddrAdd(link, at), s.net.LinkSetUp(link)); err != nil {
		return nil, fmt.Errorf("set interface %q up: %w", name, err)
	}
	return link, nil
}

// nowhere is a hardware address that nobody has.
var nowhere = net.HardwareAddr{2, 0, 0, 0, 0, 1}

// refuse makes the server's namespace send to nobody what is for the client, or
// ends that. (A route that leads nowhere would not do: an answer names the
// interface that it leaves by.)
func (w *world) refuse(on bool) error {
	to := w.mac
	if on {
		to = nowhere
	}
	return w.server.net.NeighSet(&netlink.Neigh{
		LinkIndex: w.index, State: netlink.NUD_PERMANENT, IP: net.ParseIP(clientAddr), HardwareAddr: to,
	})
}

// start starts a program in a namespace; stdout may be nil. It is killed when ctx
// ends or with the function that is returned, which waits for it.
func (s *space) start(ctx context.Context, stdout io.Writer, name string, args ...string) (cmd *exec.Cmd, stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	cmd = exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.WaitDelay = stdout, time.Second
	s.do(func() { err = cmd.Start() })
	if err != nil {
		cancel()
		return nil, func() {}, fmt.Errorf("start %q: %w", name, err)
	}
	return cmd, func() { cancel(); _ = cmd.Wait() }, nil
}

// await waits until somebody accepts connections at the server's address.
func (w *world) await(ctx context.Context, port string) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		var err error
		w.client.do(func() {
			var conn net.Conn
			if conn, err = net.DialTimeout("tcp", net.JoinHostPort(serverAddr, port), time.Second); err == nil {
				err = conn.Close()
			}
		})
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("nobody listens on port %s of the server: %w", port, err)
		}
	}
}
