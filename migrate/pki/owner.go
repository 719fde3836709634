package pki

import (
	"io/fs"
	"syscall"
)

// ownerOf is the user ID of a file's owner, and -1 where the system does not tell.
func ownerOf(info fs.FileInfo) int {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(s.Uid)
	}
	return -1
}
