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

// onClusterFS is the error of a file on a file system that stops on every node until a node that has failed is fenced:
// the fencing waits for the lease, and the lease would wait for the fencing.
func onClusterFS(f *os.File, path string) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil {
		return fmt.Errorf("file system of %s: %w", path, err)
	}
	return notOn(int64(fs.Type), path)
}

func notOn(kind int64, path string) error {
	if name := map[int64]string{gfs2: "GFS2", ocfs2: "OCFS2"}[kind]; name != "" {
		return fmt.Errorf("%s is on %s, which waits for the fencing that would wait for it: use a block device, or a file on NFS",
			path, name)
	}
	return nil
}
