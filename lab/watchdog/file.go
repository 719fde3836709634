package watchdog

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Name is the file in the folder that Serve mounts.
const Name = "watchdog"

// Serve mounts a file system on the folder dir, which is made, and returns the path of the timer's file in it. The file
// is there until the mount namespace of the caller ends. Needs root.
func Serve(dir string, t *Timer) (path string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make the watchdog's folder: %w", err)
	}
	root := &fs.Inode{}
	_, err = fs.Mount(dir, root, &fs.Options{
		MountOptions: fuse.MountOptions{AllowOther: true, DirectMountStrict: true, FsName: "vmferry-lab", Name: "watchdog"},
		OnAdd: func(ctx context.Context) {
			root.AddChild(Name, root.NewPersistentInode(ctx, &file{timer: t}, fs.StableAttr{Mode: syscall.S_IFREG}), false)
		},
	})
	if err != nil {
		return "", fmt.Errorf("mount the watchdog at %q: %w", dir, err)
	}
	return filepath.Join(dir, Name), nil
}

// file is the timer as a file.
type file struct {
	fs.Inode
	timer *Timer
}

var (
	_ fs.NodeOpener    = (*file)(nil)
	_ fs.NodeGetattrer = (*file)(nil)
	_ fs.NodeWriter    = (*file)(nil)
	_ fs.NodeFlusher   = (*file)(nil)
	_ fs.NodeIoctler   = (*file)(nil)
)

// Open implements fs.NodeOpener. Each write has to come here: none is kept in the page cache.
func (f *file) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_DIRECT_IO, f.timer.Open()
}

// Getattr implements fs.NodeGetattrer.
func (f *file) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode = syscall.S_IFREG | 0o600
	return 0
}

// Write implements fs.NodeWriter.
func (f *file) Write(_ context.Context, _ fs.FileHandle, data []byte, _ int64) (uint32, syscall.Errno) {
	f.timer.Write(data)
	return uint32(len(data)), 0
}

// Flush implements fs.NodeFlusher: a close waits for it, and not for a release. The next user may open the file at once.
func (f *file) Flush(context.Context, fs.FileHandle) syscall.Errno {
	f.timer.Close()
	return 0
}

// Ioctl implements fs.NodeIoctler: both calls have one int of seconds.
func (f *file) Ioctl(_ context.Context, _ fs.FileHandle, cmd uint32, _ uint64, in, out []byte) (int32, syscall.Errno) {
	switch {
	case cmd == unix.WDIOC_SETTIMEOUT && len(in) == 4 && len(out) == 4:
		seconds := int32(binary.NativeEndian.Uint32(in))
		if errno := f.timer.SetTimeout(time.Duration(seconds) * time.Second); errno != 0 {
			return 0, errno
		}
	case cmd == unix.WDIOC_GETTIMEOUT && len(out) == 4:
	default:
		return 0, syscall.ENOTTY
	}
	binary.NativeEndian.PutUint32(out, uint32(f.timer.Timeout()/time.Second))
	return 0, 0
}
