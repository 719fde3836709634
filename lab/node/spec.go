package node

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"text/template"
)

// Spec is one node of the lab.
type Spec struct {
	Name    string     // host name, also the name in Corosync's node list
	ID      int        // Corosync's nodeid, from 1
	Address netip.Addr // on the lab's bridge
}

// Dirs are the places that a node's file system is made of. All are absolute
// paths of the lab's own file system.
type Dirs struct {
	Image   string // lower layer, read-only: the Debian tree that all nodes share
	Product string // layer above it, read-only: what `make install` puts on a node
	State   string // the node's own writable layer and mount point are made in here
	Shared  string // the shared storage, seen by every node as /shared
	Device  string // the fence device's socket and client, seen by the node as /lab
}

func (d Dirs) upper() string { return filepath.Join(d.State, "upper") }
func (d Dirs) work() string  { return filepath.Join(d.State, "work") }
func (d Dirs) root() string  { return filepath.Join(d.State, "root") }

//go:embed files
var files embed.FS

// plan is what the templates under files/ are filled from.
type plan struct {
	Self      Spec
	Nodes     []Spec
	Prefix    int
	MachineID string
	HostUUID  string
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
	for _, dir := range []string{d.upper(), d.work(), d.root()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make the node's layers: %w", err)
		}
	}
	p := plan{
		Self: self, Nodes: nodes, Prefix: prefix,
		MachineID: fmt.Sprintf("%032x", 0x766d6665_0000+self.ID),
		HostUUID:  fmt.Sprintf("766d6665-7272-4000-8000-%012x", self.ID),
	}
	if err := render(p, d); err != nil {
		return err
	}
	for name, target := range links {
		path := filepath.Join(d.upper(), name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.Symlink(target, path); err != nil {
			return err
		}
	}
	return nil
}

// render writes every file under files/, filled from p, into the upper layer.
func render(p plan, d Dirs) error {
	ids, err := readIDs(d.Image)
	if err != nil {
		return err
	}
	return fs.WalkDir(files, "files", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		t, err := template.ParseFS(files, path)
		if err != nil {
			return err
		}
		var text bytes.Buffer
		if err := t.Execute(&text, p); err != nil {
			return err
		}
		name := strings.TrimPrefix(path, "files/")
		return writeOwned(filepath.Join(d.upper(), name), text.Bytes(), ids, name)
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
