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

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/atomicfile"
	"github.com/vmferry/vmferry/migrate/safefile"
	"github.com/vmferry/vmferry/migrate/shellword"
)

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

// makeOverlay creates the guest's copy-on-write image, where one is asked for and not there.
func (a *run) makeOverlay(ctx context.Context, disks []string) error {
	o := a.Params.Overlay
	if o.Backing == "" {
		return nil
	}
	path := overlayPath(a.Params.Config, disks)
	if !slices.Contains(disks, path) {
		a.Log.Warnf("the guest's image is %s, and config file %s names no such disk", path, a.Params.Config)
	}
	info, err := timelyValue(ctx, func() (fs.FileInfo, error) { return statOverlay(path) })
	there := err == nil && info.Size() > 0
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("look for image %q: %w", path, err)
	case there && !o.Stateless:
		return nil
	}
	if there {
		if err := a.checkDisposable(ctx, path); err != nil {
			return err
		}
	}
	format, err := a.imageFormat(ctx, o.Backing)
	if err != nil {
		return err
	}
	// One that is there is overwritten in place: QEMU's lock then keeps it from a guest that runs
	// somewhere with it. A first one appears in one step: half an image would be used.
	if there {
		return a.createOverlay(ctx, path, format)
	}
	return a.firstOverlay(ctx, path, format)
}

// statOverlay is os.Stat for an image that is written to: not one that another user's link leads to.
func statOverlay(path string) (fs.FileInfo, error) {
	dir, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	link, err := os.Lstat(path)
	if err == nil && link.Mode()&fs.ModeSymlink != 0 && !safefile.Only(safefile.OwnerOf(dir)).Has(safefile.OwnerOf(link)) {
		return nil, fmt.Errorf("it is a link of another user (uid %d): remove it with: %s", safefile.OwnerOf(link), shellword.Line("rm", path))
	}
	return os.Stat(path)
}

// firstOverlay makes an image in a directory of its own, which nobody else can write to, beside its place.
func (a *run) firstOverlay(ctx context.Context, path, format string) error {
	own, err := timelyValue(ctx, func() (string, error) {
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
	err = a.createOverlay(ctx, made, format)
	if err == nil {
		if err = timely(ctx, func() error { return placeOverlay(made, path) }); err != nil {
			err = fmt.Errorf("put image %q in place: %w", path, err)
		}
	}
	if rerr := briefly(ctx, func() error { return os.RemoveAll(own) }); rerr != nil {
		a.Log.WithError(rerr).Warnf("what is left of making an image could not be removed: type: %s", shellword.Line("rm", "-r", own))
	}
	return err
}

func (a *run) createOverlay(ctx context.Context, path, format string) error {
	o := a.Params.Overlay
	a.Log.Infof("creating %s, based on %s", path, o.Backing)
	out, err := a.command(ctx, "qemu-img", "create", "-q", "-f", "qcow2", "-F", format, "-b", o.Backing, path)
	if err != nil {
		return fmt.Errorf("create image %q based on %q: %w", path, o.Backing, explain(out, err))
	}
	if len(o.CopyIn) == 0 {
		return nil
	}
	args := append([]string{"--format=qcow2", "-a", path}, o.CopyIn...)
	if out, err := a.command(ctx, "virt-copy-in", append(args, "/")...); err != nil {
		_ = briefly(ctx, func() error { return os.Truncate(path, 0) }) // an empty one is made by the next start
		return fmt.Errorf("copy copyindirs into image %q: %w", path, explain(out, err))
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

// checkDisposable refuses to overwrite an image that is based on no other: it is not one that an earlier start made, and
// may be all that there is of a guest's data.
func (a *run) checkDisposable(ctx context.Context, path string) error {
	info, err := a.imageInfo(ctx, path)
	if err != nil {
		return fmt.Errorf("look at image %q: %w", path, err)
	}
	if info.Backing == "" {
		return fmt.Errorf("image %q is based on no other, so that no start of this guest made it, and is not overwritten: keep it elsewhere with mv, or remove it with: rm %s",
			path, shellword.Operands(path))
	}
	return nil
}

// imageFormat asks for the format of the backing image: QEMU does not guess it any more, since a
// guest could make a raw image look like another. A backing file is written by no guest.
func (a *run) imageFormat(ctx context.Context, path string) (string, error) {
	info, err := a.imageInfo(ctx, path)
	if err != nil {
		return "", fmt.Errorf("look at backing file %q: %w", path, err)
	}
	return info.Format, nil
}

// imageInfo is what qemu-img tells of an image.
type imageInfo struct {
	Format  string `json:"format"`
	Backing string `json:"backing-filename"` // empty for one that is based on no other
}

func (a *run) imageInfo(ctx context.Context, path string) (info imageInfo, err error) {
	out, err := a.command(ctx, "qemu-img", "info", "--force-share", "--output=json", path)
	if err != nil {
		return info, explain(out, err)
	}
	if err := json.Unmarshal([]byte(out), &info); err != nil || info.Format == "" {
		return info, fmt.Errorf("qemu-img does not tell its format: %w", errors.Join(err, errors.New(lastLine(out))))
	}
	return info, nil
}
