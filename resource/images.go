package resource

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/atomicfile"
	"github.com/vmferry/vmferry/migrate/disks"
	"github.com/vmferry/vmferry/migrate/preflight"
	"github.com/vmferry/vmferry/migrate/safefile"
	"github.com/vmferry/vmferry/migrate/shellword"
	"github.com/vmferry/vmferry/resource/command"
	"github.com/vmferry/vmferry/resource/domainxml"
	"github.com/vmferry/vmferry/resource/observe"
	"github.com/vmferry/vmferry/resource/param"
	"github.com/vmferry/vmferry/resource/timely"
)

// imagesTime bounds what is done with the files beside a guest's disks, on storage that may hang.
const imagesTime = 5 * time.Second

// images are the guest's disks in files, and the notes beside them: see package disks.
type images struct {
	config *configState
	guest  *observe.Identity // as the action knows it by now
	mode   preflight.DiskMode
	log    logrus.FieldLogger
}

func (i images) paths() []string { return domainxml.HostResourcesOf(i.config.domain.Text).Disks }

// check refuses to start a guest from a disk of which the truth is, or may be, on another
// node: see package disks. It asks no parameter: what was copied once stays so.
func (i images) check(ctx context.Context) error {
	return timely.Do(ctx, func() error {
		for _, image := range i.paths() {
			if foreign := disks.Foreign(image); len(foreign) > 0 {
				i.log.Warnf("ignored beside disk %q, as no migration made it: %s", image, strings.Join(foreign, ", "))
			}
			if err := disks.Check(image); err != nil {
				return err
			}
		}
		return nil
	})
}

// arrived makes the disks here the truth, as the guest runs here.
func (i images) arrived(ctx context.Context) { i.each(ctx, disks.Arrived) }

// forgetMoves is for a guest that was just started from its disks here.
func (i images) forgetMoves(ctx context.Context) { i.each(ctx, disks.Forget) }

// leaveBehind puts aside the disks that went with the guest, which is proven to run on another node. Whoever
// moved it did so already, unless he was killed before.
func (i images) leaveBehind(ctx context.Context) { i.each(ctx, disks.Gone) }

// each does nothing for a guest whose disks are never copied.
func (i images) each(ctx context.Context, do func(string) error) {
	if i.mode == preflight.DisksShared {
		return
	}
	ctx, cancel := timely.Within(ctx, imagesTime)
	defer cancel()
	err := timely.Do(ctx, func() (err error) {
		for _, image := range i.paths() {
			err = errors.Join(err, do(image))
		}
		return err
	})
	if err != nil {
		i.log.WithError(err).Error("notes beside the guest's disks could not be updated: a later start may be refused")
	}
}

// overlayPath is where VirtualDomain has the guest's own image: the path of the config file up to
// its first dot, with .qcow2. Where a directory's name has a dot that is another
// directory, so that the image beside the file is taken when the guest's disks name it.
func overlayPath(config string, disks []string) string {
	stem, _, _ := strings.Cut(config, ".")
	dir, base := filepath.Split(config)
	base, _, _ = strings.Cut(base, ".")
	if beside := dir + base + ".qcow2"; slices.Contains(disks, beside) {
		return beside
	}
	return stem + ".qcow2"
}

// overlay makes a guest's copy-on-write image with qemu-img.
type overlay struct {
	param.Overlay
	config string // the guest's file
	run    command.Runner
	log    logrus.FieldLogger
}

// make creates the image, where one is wanted and not there; disks are those that the guest's file names.
func (o overlay) make(ctx context.Context, disks []string) error {
	if o.Backing == "" {
		return nil
	}
	path := overlayPath(o.config, disks)
	if !slices.Contains(disks, path) {
		o.log.Warnf("the guest's image is %s, and config file %s names no such disk", path, o.config)
	}
	info, err := timely.Get(ctx, func() (fs.FileInfo, error) { return statOverlay(path) })
	there := err == nil && info.Size() > 0
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("look for image %q: %w", path, err)
	case there && !o.Stateless:
		return nil
	}
	if there {
		if err := o.checkDisposable(ctx, path); err != nil {
			return err
		}
	}
	// QEMU does not guess the format of a backing image any more, since a guest could make a raw image look like
	// another. A backing file is written by no guest.
	backing, err := o.info(ctx, o.Backing)
	if err != nil {
		return fmt.Errorf("look at backing file %q: %w", o.Backing, err)
	}
	// One that is there is overwritten in place: QEMU's lock then keeps it from a guest that runs
	// somewhere with it. A first one appears in one step: half an image would be used.
	if there {
		return o.create(ctx, path, backing.Format)
	}
	return o.createNew(ctx, path, backing.Format)
}

// statOverlay is os.Stat for an image that is written to: not one that another user's link leads to.
func statOverlay(path string) (fs.FileInfo, error) {
	dir, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	link, err := os.Lstat(path)
	if err != nil || link.Mode()&fs.ModeSymlink == 0 {
		return link, err
	}
	if owner := safefile.OwnerOf(link); !safefile.Only(safefile.OwnerOf(dir)).Has(owner) {
		return nil, fmt.Errorf("it is a link of another user (uid %d): remove it with: %s",
			owner, shellword.Line("rm", path))
	}
	return os.Stat(path)
}

// createNew makes an image in a directory of its own, which nobody else can write to, beside its place.
func (o overlay) createNew(ctx context.Context, path, format string) error {
	own, err := timely.Get(ctx, func() (string, error) {
		own, err := os.MkdirTemp(filepath.Dir(path), ".vmferry-image-*")
		if err == nil {
			err = os.Chmod(own, 0o711) // virt-copy-in may have libvirt's QEMU open the image, as QEMU's user
		}
		return own, err
	})
	if err != nil {
		return fmt.Errorf("make room for image %q: %w", path, err)
	}
	made := filepath.Join(own, filepath.Base(path))
	err = o.create(ctx, made, format)
	if err == nil {
		if err = timely.Do(ctx, func() error { return placeOverlay(made, path) }); err != nil {
			err = fmt.Errorf("put image %q in place: %w", path, err)
		}
	}
	if rerr := timely.DoBriefly(ctx, func() error { return os.RemoveAll(own) }); rerr != nil {
		o.log.WithError(rerr).Warnf("temporary image directory not removed: type: %s", shellword.Line("rm", "-r", own))
	}
	return err
}

func (o overlay) create(ctx context.Context, path, format string) error {
	o.log.Infof("creating %s, based on %s", path, o.Backing)
	out, err := o.run(ctx, "qemu-img", "create", "-q", "-f", "qcow2", "-F", format, "-b", o.Backing, path)
	if err != nil {
		return fmt.Errorf("create image %q based on %q: %w", path, o.Backing, command.Explain(out, err))
	}
	if len(o.CopyIn) == 0 {
		return nil
	}
	args := append([]string{"--format=qcow2", "-a", path}, o.CopyIn...)
	if out, err := o.run(ctx, "virt-copy-in", append(args, "/")...); err != nil {
		// An empty one is made by the next start.
		_ = timely.DoBriefly(ctx, func() error { return os.Truncate(path, 0) })
		return fmt.Errorf("copy copyindirs into image %q: %w", path, command.Explain(out, err))
	}
	return nil
}

// placeOverlay gives a new image its name, in place of an empty file at most: meanwhile a file system may have been
// mounted that has one of that name.
func placeOverlay(from, to string) error {
	info, err := os.Lstat(to)
	if err == nil && info.Mode().IsRegular() && info.Size() == 0 {
		err = os.Remove(to)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err = unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // NFS
		err = os.Link(from, to)
	}
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%q is there now: a file system was mounted, or another start made it", to)
	}
	if err != nil {
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(to))
}

// checkDisposable refuses to overwrite an image that is based on no other: it is not one that an earlier start made,
// and may be all that there is of a guest's data.
func (o overlay) checkDisposable(ctx context.Context, path string) error {
	info, err := o.info(ctx, path)
	if err != nil {
		return fmt.Errorf("look at image %q: %w", path, err)
	}
	if info.Backing == "" {
		return fmt.Errorf("image %q is based on no other, so that no start of this guest made it, and is not "+
			"overwritten: keep it elsewhere with mv, or remove it with: rm %s",
			path, shellword.Operands(path))
	}
	return nil
}

// imageInfo is what qemu-img says of an image.
type imageInfo struct {
	Format  string `json:"format"`
	Backing string `json:"backing-filename"` // empty for one that is based on no other
}

func (o overlay) info(ctx context.Context, path string) (info imageInfo, err error) {
	out, err := o.run(ctx, "qemu-img", "info", "--force-share", "--output=json", path)
	if err != nil {
		return info, command.Explain(out, err)
	}
	if err := json.Unmarshal([]byte(out), &info); err != nil || info.Format == "" {
		return info, fmt.Errorf("qemu-img reports no format: %w", errors.Join(err, errors.New(command.LastLine(out))))
	}
	return info, nil
}
