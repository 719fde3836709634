package supervisor

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/lab/guarded"
	"github.com/vmferry/vmferry/lab/mirrored"
	"github.com/vmferry/vmferry/lab/node"
	"github.com/vmferry/vmferry/lab/watchdog"
	"github.com/vmferry/vmferry/lab/xen"
)

// The hypervisors that a lab's nodes can have.
const (
	QEMU = "qemu" // the nodes are containers and run QEMU
	Xen  = "xen"  // the nodes are machines of their own, domain 0 of a Xen
)

// machine is a node that has been booted. All of its methods may be called
// from several goroutines.
type machine interface {
	// Done is closed when the node is down and nothing of it is left running.
	Done() <-chan struct{}
	// Rebooted tells, once the node is down, whether it went down to boot again.
	Rebooted() bool
	// Leader is the process that the node lives and dies with. It fails while
	// the node has none.
	Leader() (int, error)
	// Kill ends the node as a power cut does, and returns when nothing of it is
	// left, or with ctx's error.
	Kill(ctx context.Context) error
}

// platform is a way of making nodes.
type platform interface {
	// prepare makes all that the nodes boot from. It is called once in the
	// life of a lab, inside its namespaces, before anything boots.
	prepare(ctx context.Context, cfg Config) error
	// boot boots a node that is down; its console is written to console.
	boot(cfg Config, spec node.Spec, console io.Writer) (machine, error)
	// listen opens the power switch where the nodes' fence agent reaches it.
	listen(cfg Config) (net.Listener, error)
	// login is the ssh_config(5) by which commands reach the nodes; empty when
	// they are run in the namespaces of a node's leader.
	login(cfg Config) string
}

// platformOf is the only place that tells hypervisors apart by name.
func platformOf(hypervisor string) (platform, error) {
	switch hypervisor {
	case QEMU:
		return containers{}, nil
	case Xen:
		return machines{}, nil
	}
	return nil, fmt.Errorf("unknown hypervisor %q: use %q or %q", hypervisor, QEMU, Xen)
}

func cgroupOf(cfg Config, spec node.Spec) node.Cgroup {
	return node.Cgroup(filepath.Join(cgroupRoot, cgroupName(cfg.Dir), spec.Name))
}

// dogOf is the file of a node's watchdog; "" where nodes have none.
func dogOf(cfg Config, spec node.Spec) string {
	if !cfg.Guard {
		return ""
	}
	return filepath.Join(cfg.Dir, "watchdogs", spec.Name, watchdog.Name)
}

func dirs(cfg Config, spec node.Spec) node.Dirs {
	return node.Dirs{
		Watchdog: dogOf(cfg, spec),
		Image:    cfg.Image, Product: cfg.Product,
		State:  filepath.Join(cfg.Dir, "nodes", spec.Name),
		Shared: Shared(cfg.Dir), Device: Device(cfg.Dir),
	}
}

// containers are nodes of package node.
type containers struct{}

func (containers) prepare(_ context.Context, cfg Config) error {
	outfit, err := outfitOf(cfg)
	if err != nil {
		return err
	}
	for _, spec := range cfg.Nodes {
		if cfg.Guard {
			if err := ownDisk(dirs(cfg, spec).State); err != nil {
				return err
			}
		}
		if err := node.PrepareAs(outfit, spec, cfg.Nodes, cfg.Network.Bits(), dirs(cfg, spec)); err != nil {
			return err
		}
	}
	return nil
}

func outfitOf(cfg Config) (node.Outfit, error) {
	switch {
	case cfg.Guard:
		return guarded.Outfit()
	case cfg.Mirror:
		return mirrored.Outfit()
	}
	return node.Outfit{Pace: node.Containers}, nil
}

// ownDisk mounts a small file system for what a node writes, so that its disk can be filled and this machine's is not.
// It goes with the lab's namespaces.
func ownDisk(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the node's disk: %w", err)
	}
	if err := unix.Mount("vmferry-lab", dir, "tmpfs", 0, "size=2g,mode=755"); err != nil {
		return fmt.Errorf("mount the node's disk: %w", err)
	}
	return nil
}

func (containers) boot(cfg Config, spec node.Spec, console io.Writer) (machine, error) {
	return node.Boot(spec, dirs(cfg, spec), bridge, cgroupOf(cfg, spec), console)
}

func (containers) listen(cfg Config) (net.Listener, error) {
	return listen(filepath.Join(Device(cfg.Dir), Switch), 0o600)
}

func (containers) login(Config) string { return "" }

// machines are nodes of package xen.
type machines struct{}

func host(cfg Config) xen.Host {
	return xen.Host{
		Dir: cfg.Dir, Image: cfg.Image, Product: cfg.Product, Shared: Shared(cfg.Dir),
		Bridge: bridge, Network: cfg.Network, Nodes: cfg.Nodes,
	}
}

func (machines) prepare(ctx context.Context, cfg Config) error { return host(cfg).Prepare(ctx) }

func (machines) boot(cfg Config, spec node.Spec, _ io.Writer) (machine, error) {
	return host(cfg).Boot(spec, cgroupOf(cfg, spec), Console(cfg.Dir, spec.Name))
}

func (machines) listen(cfg Config) (net.Listener, error) {
	l, err := net.Listen("tcp", xen.Switch())
	if err != nil {
		return nil, fmt.Errorf("open the power switch: %w", err)
	}
	return l, nil
}

func (machines) login(cfg Config) string { return host(cfg).Login() }

func listen(path string, mode os.FileMode) (net.Listener, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("open the lab's socket: %w", err)
	}
	return l, os.Chmod(path, mode)
}
