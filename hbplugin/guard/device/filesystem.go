package device

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// The file systems of a cluster, by statfs(2).
const (
	gfs2  = 0x01161970
	ocfs2 = 0x7461636f
)

// onUnfitFS is the error of a file on a file system that cannot hold leases.
func onUnfitFS(f *os.File, path string) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil {
		return fmt.Errorf("file system of %s: %w", path, err)
	}
	return notOn(int64(fs.Type), path)
}

// notOn refuses the memory of this node, which has direct I/O since Linux 6.6 (tmpfs), and a file system that stops on
// every node until a node that has failed is fenced: the fencing waits for the lease, and the lease would wait for the
// fencing.
func notOn(kind int64, path string) error {
	switch kind {
	case unix.TMPFS_MAGIC, unix.RAMFS_MAGIC:
		return fmt.Errorf("%s is in the memory of this node (tmpfs), which no other node has: use a block device, or a file on NFS",
			path)
	case gfs2, ocfs2:
		return fmt.Errorf("%s is on %s, which waits for the fencing that would wait for it: use a block device, or a file on NFS",
			path, map[int64]string{gfs2: "GFS2", ocfs2: "OCFS2"}[kind])
	}
	return nil
}
