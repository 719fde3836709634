package client

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	lv "libvirt.org/go/libvirt"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// DiskVisible asks whether the host has what a disk's source names. A file or device is looked for by libvirt's own
// process, whether or not a storage pool covers it, and is not opened; where a driver cannot do that, as Xen's, a pool
// that lists every file of the directory answers, after a refresh. A volume is looked for in its pool, which must be
// active and is not refreshed: so does libvirt when it takes a guest in (virDomainDiskTranslateSourcePool).
func (c Storage) DiskVisible(ctx context.Context, source libvirt.DiskSource) (libvirt.Visible, error) {
	return call(ctx, c.session, fmt.Sprintf("look for disk %q", source), "", func() (libvirt.Visible, error) {
		if source.Pool != "" {
			return c.poolHas(source)
		}
		path := filepath.Clean(source.Path)
		if there := c.resolves(path); there != libvirt.VisibleUnknown {
			return there, nil
		}
		return c.poolSees(path)
	})
}

// below is the name of a file that is nowhere. It says in the host's log what a failed look for it is about.
const below = "vmferry-looks-for-this-disk"

// The paths by which a host shows its words: below the first there may be no file since it is none, and
// below the second since it is not there.
const (
	knownFile    = "/proc/version"
	knownMissing = "/proc/vmferry-none"
)

// resolves asks libvirt to read a saved guest from a file below path, which cannot be: the kernel says ENOTDIR where
// path is a file or a device, and ENOENT where it is nothing, or a link to nothing (path_resolution(7)). Neither
// opens anything, so that no content that a guest has written is read, and no device is touched.
func (c Storage) resolves(path string) libvirt.Visible {
	notDirectory, notThere := c.learnWords()
	if notDirectory == "" || notThere == "" || notDirectory == notThere {
		return libvirt.VisibleUnknown
	}
	switch c.wordsFor(path) {
	case notDirectory:
		return libvirt.VisibleYes
	case notThere:
		return libvirt.VisibleNo
	}
	return libvirt.VisibleUnknown
}

func (c Storage) learnWords() (notDirectory, notThere string) {
	c.paths.mu.Lock()
	defer c.paths.mu.Unlock()
	if c.paths.notDirectory == "" || c.paths.notThere == "" {
		c.paths.notDirectory, c.paths.notThere = c.wordsFor(knownFile), c.wordsFor(knownMissing)
	}
	return c.paths.notDirectory, c.paths.notThere
}

// wordsFor returns the message about a file below path, with a gap for it; "" where there is none that names it.
func (c Storage) wordsFor(path string) string {
	file := filepath.Join(path, below)
	_, err := c.lv.DomainSaveImageGetXMLDesc(file, 0)
	var lerr lv.Error
	if !errors.As(err, &lerr) {
		return ""
	}
	before, after, found := strings.Cut(lerr.Message, file)
	if !found {
		return ""
	}
	return before + "\x00" + after
}

// poolSees believes a pool's no only where it lists all files of the directory.
func (c Storage) poolSees(path string) (libvirt.Visible, error) {
	pool, err := c.lv.LookupStoragePoolByTargetPath(filepath.Dir(path))
	if err == nil {
		defer func() { _ = pool.Free() }()
		if active, err := pool.IsActive(); err == nil && active && ownsDirectory(pool) == nil {
			if err := pool.Refresh(0); err != nil {
				return libvirt.VisibleUnknown, err
			}
			return seesVolume(pool, filepath.Base(path))
		}
	}
	if c.hasVolume(path) {
		return libvirt.VisibleYes, nil
	}
	return libvirt.VisibleUnknown, nil
}

func seesVolume(pool *lv.StoragePool, name string) (libvirt.Visible, error) {
	vol, err := lookupVolume(pool, name)
	switch {
	case err != nil:
		return libvirt.VisibleUnknown, err
	case vol == nil:
		return libvirt.VisibleNo, nil
	}
	_ = vol.Free()
	return libvirt.VisibleYes, nil
}

func (c Storage) poolHas(source libvirt.DiskSource) (libvirt.Visible, error) {
	pool, err := c.lv.LookupStoragePoolByName(source.Pool)
	if isCode(err, lv.ERR_NO_STORAGE_POOL) {
		return libvirt.VisibleNo, nil
	}
	if err != nil {
		return libvirt.VisibleUnknown, err
	}
	defer func() { _ = pool.Free() }()
	active, err := pool.IsActive()
	switch {
	case err != nil:
		return libvirt.VisibleUnknown, err
	case !active:
		return libvirt.VisibleNo, nil
	}
	return seesVolume(pool, source.Volume)
}

func (c Storage) hasVolume(path string) bool {
	vol, err := c.lv.LookupStorageVolByPath(path)
	if err != nil {
		return false
	}
	_ = vol.Free()
	return true
}
