package disks

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/vmferry/vmferry/migrate/atomicfile"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/safefile"
)

// What is beside an image: the path of each is the image's with one of these behind it.
const (
	NoteSuffix     = ".vmferry"
	ArrivingSuffix = ".vmferry-arriving"
	OldSuffix      = ".vmferry-old"
)

// makers are the users whose files count beside an image: root, who owns the image or its directory, and with that
// the image's fate, and QEMU's user, as which libvirt may make a mark. On NFS root's own files belong to one of these.
func makers(image string) safefile.Owners {
	var uids []uint32
	for _, path := range []string{image, filepath.Dir(image), libvirt.QEMUDir} {
		if info, err := os.Stat(path); err == nil {
			uids = append(uids, safefile.OwnerOf(info))
		}
	}
	return safefile.Only(uids...)
}

// makersOf are those of one file beside an image. An old copy has whatever owner the image had, which is not there any
// more: without the image nothing starts anyway.
func makersOf(image, suffix string) safefile.Owners {
	if suffix == OldSuffix {
		return safefile.Anyone
	}
	return makers(image)
}

// isBeside reports whether a move has put a file there.
func isBeside(image, suffix string) (bool, error) {
	_, _, err := safefile.Look(image+suffix, makersOf(image, suffix))
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrNotExist), safefile.NotOurs(err):
		return false, nil
	}
	return false, fmt.Errorf("look at image: %w", err)
}

// removeBeside removes a file durably that a move has put there; that there is none is no error.
func removeBeside(image, suffix string) error {
	// Where the file system is mounted read-only, as the daemon has it, even the removal of what is not there fails.
	if there, err := isBeside(image, suffix); err != nil || !there {
		return err
	}
	path := image + suffix
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = atomicfile.SyncDir(filepath.Dir(path))
	}
	return err
}

// Foreign says what lies beside an image under the names of this package, and is ignored, as no move can have put it
// there: one clause for each. It reads the file system, which may hang: the caller bounds that.
func Foreign(image string) (all []string) {
	for _, suffix := range []string{NoteSuffix, ArrivingSuffix, OldSuffix} {
		if _, _, err := safefile.Look(image+suffix, makersOf(image, suffix)); safefile.NotOurs(err) {
			all = append(all, err.Error())
		}
	}
	return all
}
