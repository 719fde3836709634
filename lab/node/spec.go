package node

import (
	"bytes"
	"cmp"
	"embed"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"text/template"
	"time"
)

// Spec is one node of the lab.
type Spec struct {
	Name    string     // in Corosync's node list, and in /etc/hosts of every node
	ID      int        // Corosync's nodeid, from 1
	Address netip.Addr // on the lab's bridge
	// Host is the name that the node has for itself, gethostname(2), where that is not Name. Nothing resolves it.
	Host string `json:",omitempty"`
}

// HostName is what the node calls itself.
func (s Spec) HostName() string { return cmp.Or(s.Host, s.Name) }

// Dirs are the places that a node's file system is made of. All are absolute
// paths of the lab's own file system.
type Dirs struct {
	Image   string // lower layer, read-only: the Debian tree that all nodes share
	Product string // layer above it, read-only: what `make install` puts on a node
	State   string // the node's own writable layer and mount point are made in here
	Shared  string // the shared storage, seen by every node as /shared
	Device  string // the fence device's socket and client, seen by the node as /lab
	// Watchdog is a file that behaves like a hardware watchdog, seen by the node as [WatchdogDevice]; "" is none.
	Watchdog string
}

// WatchdogDevice is where a node has its watchdog.
const WatchdogDevice = "/dev/watchdog"

func (d Dirs) upper() string { return filepath.Join(d.State, "upper") }
func (d Dirs) work() string  { return filepath.Join(d.State, "work") }
func (d Dirs) root() string  { return filepath.Join(d.State, "root") }

//go:embed files
var files embed.FS

// Plan is what the templates of a node's files are filled from.
type Plan struct {
	Self      Spec
	Nodes     []Spec
	Prefix    int    // length of the network's prefix
	MachineID string // machine-id(5)
	HostUUID  string // by which libvirt tells hosts apart
	Pace      Pace
	// Values are what an Outfit's own templates need.
	Values map[string]string
}

// Pace is how long the cluster managers of a node wait for each other, in
// whole seconds. A slow node must not be taken for a dead one.
type Pace struct {
	Token    time.Duration // until Corosync takes a silent node for lost
	DCWait   time.Duration // that Pacemaker waits for a node that coordinates
	Silence  time.Duration // until Heartbeat takes a silent node for dead
	InitWait time.Duration // the same while the nodes boot
}

// Containers is the pace of containers: they boot and answer as fast as the machine that they run on.
var Containers = Pace{Token: 3 * time.Second, DCWait: 5 * time.Second, Silence: 5 * time.Second,
	InitWait: 8 * time.Second}

// Outfit is what nodes of one kind have beyond, or unlike, those that are
// containers.
type Outfit struct {
	Pace   Pace
	Files  fs.FS             // templates as those below files/ here, from their names on; may be nil
	Values map[string]string // for these templates
	// Links are more links below the node's root; one with no target takes a
	// link away that containers have.
	Links map[string]string
	// Private are the files that only root may read.
	Private []string
}

// private are the files that only their owner may read, with the mode of the
// folder that they lie in; the rest belong to root and are open. Pacemaker
// refuses a configuration that is not its own, Heartbeat a key that others can
// read. Debian gives these accounts their numbers at installation, so they are
// read from the image.
var private = map[string]struct {
	user, group string
	dir         os.FileMode
}{
	"var/lib/pacemaker/cib/cib.xml": {"hacluster", "haclient", 0o750},
	"etc/ha.d/authkeys":             {"root", "root", 0o755},
}

// links are the units that a node starts, and those that it must not start
// (masked by /dev/null). What is masked costs boot time on a small machine and does
// nothing for a cluster node in a container. Heartbeat would start at boot but
// for its mask: the lab moves the masks when it changes the cluster manager.
var links = map[string]string{
	"etc/systemd/system/multi-user.target.wants/systemd-networkd.service": "/usr/lib/systemd/system/systemd-networkd.service",
	"etc/systemd/system/multi-user.target.wants/corosync.service":         "/usr/lib/systemd/system/corosync.service",
	"etc/systemd/system/multi-user.target.wants/pacemaker.service":        "/usr/lib/systemd/system/pacemaker.service",
	"etc/systemd/system/multi-user.target.wants/heartbeat.service":        "/usr/lib/systemd/system/heartbeat.service",
	"etc/systemd/system/sockets.target.wants/libvirtd-tcp.socket":         "/usr/lib/systemd/system/libvirtd-tcp.socket",
	"etc/systemd/system/multi-user.target.wants/vmferryd.service":         "/usr/lib/systemd/system/vmferryd.service",
	"etc/systemd/system/systemd-networkd-wait-online.service":             "/dev/null",
	"etc/systemd/system/systemd-timesyncd.service":                        "/dev/null",
	"etc/systemd/system/systemd-udev-trigger.service":                     "/dev/null",
	"etc/systemd/system/console-getty.service":                            "/dev/null",
	"etc/systemd/system/getty.target":                                     "/dev/null",
	"etc/systemd/system/timers.target":                                    "/dev/null",
	"etc/systemd/system/libvirt-guests.service":                           "/dev/null",
	"etc/systemd/system/heartbeat.service":                                "/dev/null",
	"etc/systemd/system/pcsd.service":                                     "/dev/null",
	"etc/systemd/system/pcsd-ruby.service":                                "/dev/null",
	"etc/systemd/system/e2scrub_reap.service":                             "/dev/null",
}

// Prepare makes the node's writable layer in d.State: addresses, cluster
// membership, libvirt's transport and an empty cluster configuration. It is
// called once for each life of the lab; a reboot keeps what the node wrote.
func Prepare(self Spec, nodes []Spec, prefix int, d Dirs) error {
	return PrepareAs(Outfit{Pace: Containers}, self, nodes, prefix, d)
}

// PrepareAs is Prepare for a node that is no container.
func PrepareAs(o Outfit, self Spec, nodes []Spec, prefix int, d Dirs) error {
	for _, dir := range []string{d.upper(), d.work(), d.root()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make the node's layers: %w", err)
		}
	}
	p := Plan{
		Self: self, Nodes: nodes, Prefix: prefix, Pace: o.Pace, Values: o.Values,
		MachineID: fmt.Sprintf("%032x", 0x766d6665_0000+self.ID),
		HostUUID:  fmt.Sprintf("766d6665-7272-4000-8000-%012x", self.ID),
	}
	ids, err := readIDs(d.Image)
	if err != nil {
		return err
	}
	common, err := fs.Sub(files, "files")
	if err != nil {
		return err
	}
	for _, tree := range []fs.FS{common, o.Files} {
		if tree == nil {
			continue
		}
		if err := p.render(tree, d.upper(), ids); err != nil {
			return err
		}
	}
	for _, name := range o.Private {
		if err := os.Chmod(filepath.Join(d.upper(), name), 0o600); err != nil {
			return err
		}
	}
	return o.link(d.upper())
}

// link makes the links of the node.
func (o Outfit) link(upper string) error {
	all := maps.Clone(links)
	maps.Copy(all, o.Links)
	for name, target := range all {
		if target == "" {
			continue
		}
		path := filepath.Join(upper, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.Symlink(target, path); err != nil {
			return err
		}
	}
	return nil
}

// render writes every file of the tree, filled from p, into the upper layer.
func (p Plan) render(tree fs.FS, upper string, ids ids) error {
	return fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		t, err := template.ParseFS(tree, name)
		if err != nil {
			return err
		}
		var text bytes.Buffer
		if err := t.Execute(&text, p); err != nil {
			return err
		}
		return writeOwned(filepath.Join(upper, name), text.Bytes(), ids, name)
	})
}

func writeOwned(path string, text []byte, ids ids, name string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, text, 0o644); err != nil {
		return err
	}
	who, ok := private[name]
	if !ok {
		return nil
	}
	uid, gid, err := ids.lookup(who.user, who.group)
	if err != nil {
		return err
	}
	// The directory is a new one in this layer and hides the image's: it
	// needs the same owner and mode.
	dir := filepath.Dir(path)
	for _, f := range []struct {
		path string
		mode os.FileMode
	}{{dir, who.dir}, {path, 0o600}} {
		if err := os.Chmod(f.path, f.mode); err != nil {
			return err
		}
		if err := os.Chown(f.path, uid, gid); err != nil {
			return err
		}
	}
	return nil
}
