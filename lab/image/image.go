package image

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/lab/node"
)

// Suite is the Debian release of the nodes. An older one will not do: QEMU
// 7.2 of bookworm damages guest memory when an emulated guest migrates.
const Suite = "trixie"

// Recipe says what an image is made of.
type Recipe struct {
	// Kind begins the name of the image in the cache folder; it is one of kinds.
	Kind string
	// Version changes when the way of building changes but the lists do not.
	Version string
	// Packages are what the image has beyond Debian's essential packages.
	Packages []string
	// Excluded are patterns of the files that are not unpacked (dpkg(1), path-exclude).
	Excluded []string
	// Finish completes the tree, if it is not nil. It ends with ctx, and may
	// use the folder tmp, which goes away.
	Finish func(ctx context.Context, tree, tmp string, progress func(string)) error
}

// Kinds of images that the lab keeps: the tree that the containers share, and
// that of the machines with Xen.
const (
	KindNode = "node"
	KindXen  = "xen"
)

var kinds = []string{KindNode, KindXen}

// basics are what every node has: an operating system that boots, both cluster
// managers with their tools, and libvirt.
var basics = []string{
	"systemd", "systemd-sysv", "libpam-systemd", "dbus", "udev", "kmod",
	"iproute2", "iputils-ping", "procps",
	"corosync", "pacemaker", "pacemaker-cli-utils", "resource-agents",
	"heartbeat", "pcs", "crmsh",
	"libvirt-daemon-system", "libvirt-clients",
}

// excluded are left out of every image: nobody reads manuals in a node, and
// unpacking them takes a fifth of the time.
var excluded = []string{"/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*"}

// With is the recipe of an image with what every node has and these packages.
func With(kind, version string, packages ...string) Recipe {
	return Recipe{Kind: kind, Version: version, Packages: slices.Concat(basics, packages), Excluded: excluded}
}

// unplayed is what a game server does not need of its data: all but the maps.
var unplayed = []string{"/usr/share/games/teeworlds/data/[!m]*", "/usr/share/games/teeworlds/data/mapres/*",
	"/usr/share/fonts/*"}

// unasked is what a database without accounts does not need: messages in all languages, and tables.
var unasked = []string{"/usr/share/mariadb/*"}

// Node is the image of a node that is a container and runs QEMU. The game server and
// the database are for guests; no unit of theirs is enabled. sshd is for nodes that mirror disks, which enable it themselves.
func Node() Recipe {
	r := With(KindNode, "1", "libvirt-daemon-driver-qemu",
		"qemu-system-x86", "qemu-utils", "libxml2-utils", "swtpm", "swtpm-tools",
		"linux-image-cloud-amd64", "teeworlds-server", "openssh-server", "openssh-client",
		"mariadb-server-core", "mariadb-client-core", "e2fsprogs")
	r.Excluded = slices.Concat(r.Excluded, unplayed, unasked)
	r.Finish = disableSSH
	return r
}

// disableSSH undoes what the package of sshd does: to start it at boot.
func disableSSH(_ context.Context, tree, _ string, _ func(string)) error {
	err := os.Remove(filepath.Join(tree, "etc/systemd/system/multi-user.target.wants/ssh.service"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// HasDatabase reports whether an image has the database.
func HasDatabase(image string) bool {
	_, err := os.Stat(filepath.Join(image, "usr/sbin/mariadbd"))
	return err == nil
}

// HasGame reports whether an image has the game server.
func HasGame(image string) bool {
	_, err := os.Stat(filepath.Join(image, "usr/games/teeworlds-server"))
	return err == nil
}

// Path is where the image lies in the cache folder, built or not.
func (r Recipe) Path(cache string) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{
		r.Version, Suite, runtime.GOARCH, strings.Join(r.Packages, " "), strings.Join(r.Excluded, " "),
	}, "\n")))
	return filepath.Join(cache, r.Kind+"-"+hex.EncodeToString(sum[:6]))
}

// Build makes the image in the cache folder unless it is there, and returns
// its path. progress gets each step in a few words.
// When ctx ends the build is stopped, with all of its processes and mounts.
// An image that was not finished is never mistaken for one that was.
func (r Recipe) Build(ctx context.Context, cache string, progress func(string)) (string, error) {
	path := r.Path(cache)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("make the cache folder: %w", err)
	}
	if err := Sweep(cache); err != nil {
		return "", err
	}
	part := path + unfinished
	if err := r.make(ctx, filepath.Join(part, "tree"), filepath.Join(part, "tmp"), progress); err != nil {
		return "", errors.Join(err, Sweep(cache))
	}
	if err := os.Rename(filepath.Join(part, "tree"), path); err != nil {
		return "", err
	}
	return path, prune(cache, path)
}

// make builds the image from nothing.
func (r Recipe) make(ctx context.Context, tree, tmp string, progress func(string)) error {
	if err := r.bootstrap(ctx, tree, tmp, progress); err != nil || r.Finish == nil {
		return err
	}
	return r.Finish(ctx, tree, tmp, progress)
}

// unfinished ends the name of a folder in which an image is being built.
const unfinished = ".part"

// Sweep removes images from the cache folder that were begun and never
// finished. No build may be under way there.
func Sweep(cache string) error {
	for _, kind := range kinds {
		parts, err := filepath.Glob(filepath.Join(cache, kind+"-*"+unfinished))
		if err != nil {
			return err
		}
		for _, part := range parts {
			if err := os.RemoveAll(part); err != nil {
				return fmt.Errorf("remove an unfinished image: %w", err)
			}
		}
	}
	return nil
}

// bootstrap runs mmdebstrap in a process namespace of its own: ending its
// first process ends everything that the build started, and its mounts are
// nobody else's. Its temporary files go to tmp.
func (r Recipe) bootstrap(ctx context.Context, target, tmp string, progress func(string)) error {
	if err := os.MkdirAll(tmp, 0o700); err != nil {
		return err
	}
	args := []string{
		"--mount", "--pid", "--fork", "--mount-proc", "--kill-child=KILL", "--",
		"mmdebstrap", "--mode=root", "--format=directory", "--variant=minbase",
		"--include=" + strings.Join(r.Packages, ","),
	}
	for _, pattern := range r.Excluded {
		args = append(args, "--dpkgopt=path-exclude="+pattern)
	}
	args = append(args, Suite, target)
	cmd := exec.CommandContext(ctx, "unshare", args...)
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	// unshare waits for its child and then ends; killed itself, it would leave
	// that to others.
	cmd.Cancel = func() error { return node.SignalChildren(cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = 20 * time.Second
	output, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	// The death signal follows the thread that started the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start mmdebstrap: %w", err)
	}
	complaint := follow(output, progress)
	if err := cmd.Wait(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("build the node image with mmdebstrap: %w: %s", err, complaint)
	}
	return nil
}

// follow passes the steps that mmdebstrap prints on to progress, and returns
// its last complaint: an error line of its own, or else the last line that
// was no step.
func follow(output io.Reader, progress func(string)) string {
	var complaint, other string
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if step, ok := strings.CutPrefix(line, "I: "); ok {
			progress(step)
		} else if strings.HasPrefix(line, "E: ") || strings.Contains(line, "rror") {
			complaint = line
		} else if line != "" {
			other = line
		}
	}
	return cmp.Or(complaint, other)
}

// prune removes the images of the same kind that were made from older inputs.
func prune(cache, keep string) error {
	kind, _, _ := strings.Cut(filepath.Base(keep), "-")
	old, err := filepath.Glob(filepath.Join(cache, kind+"-*"))
	if err != nil {
		return err
	}
	for _, path := range old {
		if path == keep {
			continue
		}
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("remove an outdated image: %w", err)
		}
	}
	return nil
}

// Kernel finds the kernel image and the modules folder that an image came with.
func Kernel(image string) (kernel, modules string, err error) {
	kernels, err := filepath.Glob(filepath.Join(image, "boot/vmlinuz-*"))
	if err != nil || len(kernels) != 1 {
		return "", "", fmt.Errorf("the node image %q must hold one kernel, it holds %d", image, len(kernels))
	}
	version := strings.TrimPrefix(filepath.Base(kernels[0]), "vmlinuz-")
	return kernels[0], filepath.Join(image, "usr/lib/modules", version), nil
}
