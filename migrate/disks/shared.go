package disks

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// networked are the file systems which several hosts may have mounted, by their number in statfs(2). The
// numbers are those of libvirt's virFileIsSharedFSType, and of the kernel (linux/magic.h, and fs/gfs2, fs/lustre,
// fs/ocfs2, fs/vboxsf).
var networked = map[uint32]string{
	0x00006969: "NFS",
	0x0000517b: "SMB",
	0xff534d42: "CIFS",
	0xfe534d42: "SMB2",
	0x00c36400: "Ceph",
	0x7461636f: "OCFS2",
	0x01161970: "GFS2",
	0x5346414f: "AFS",
	0x6b414653: "AFS",
	0x01021997: "9p",
	0x0bd00bd0: "Lustre",
	0x47504653: "GPFS",
	0x61636673: "ACFS",
	0x19830326: "BeeGFS",
	0x7c7c6673: "OrangeFS",
	0x73757245: "Coda",
	0x0000564c: "NCP",
	0x786f4256: "a folder of VirtualBox's",
	0xbacbacbc: "VMware's HGFS",
	0x013111a8: "IBRIX",
	0x565a4653: "a cluster file system of Virtuozzo's",
	fuse:       "a file system of FUSE's",
}

// fuse is that of all file systems that a program provides, such as GlusterFS and sshfs, of virtiofs, and of those
// on a local device (fuseblk).
const fuse = 0x65735546

// SharedBy returns what kind of file system a file lies on where other hosts may have the same one, and "" where it
// lies on one of this host alone. A link counts as the file that it leads to. Of a file that is not there, its
// directory counts. It reads the file system, which may hang: the caller bounds that.
func SharedBy(path string) (kind string, err error) {
	var at unix.Statfs_t
	err = unix.Statfs(path, &at)
	if errors.Is(err, fs.ErrNotExist) {
		path = filepath.Dir(path)
		err = unix.Statfs(path, &at)
	}
	if err != nil {
		return "", fmt.Errorf("ask the file system of %q: %w", path, err)
	}
	number := uint32(at.Type)
	if number == fuse && onDevice(path) {
		return "", nil
	}
	return networked[number], nil
}

// onDevice reports whether the file system of a file has a device of its own, of which the number is not made up:
// those without have the major number 0.
func onDevice(path string) bool {
	var at unix.Stat_t
	return unix.Stat(path, &at) == nil && unix.Major(at.Dev) != 0
}
