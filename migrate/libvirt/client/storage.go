package client

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	lv "libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// DiskSize asks how large a running domain's disk is; disk is its target, such as "vda"
// (virDomainGetBlockInfo).
func (c *Conn) DiskSize(ctx context.Context, name, disk string) (libvirt.DiskSize, error) {
	return withDomain(ctx, c, "ask the size of disk "+disk+" of", name, func(d *lv.Domain) (libvirt.DiskSize, error) {
		info, err := d.GetBlockInfo(disk, 0)
		if err != nil {
			return libvirt.DiskSize{}, err
		}
		return libvirt.DiskSize{Capacity: info.Capacity, Allocated: info.Allocation}, nil
	})
}

// Room is how many bytes are free in the storage pool whose target is dir. It refreshes the pool.
func (c *Conn) Room(ctx context.Context, dir string) (uint64, error) {
	return call(ctx, c, fmt.Sprintf("ask the room in %q", dir), "", func() (room uint64, err error) {
		err = c.inPool(dir, func(p *lv.StoragePool) error {
			info, err := p.GetInfo()
			if err == nil {
				room = info.Available
			}
			return err
		})
		return room, err
	})
}

// CreateImage makes an image that takes up next to nothing yet, in the storage pool whose target is
// the image's directory. That there is a file of the name already is an error.
func (c *Conn) CreateImage(ctx context.Context, image libvirt.Image) error {
	_, err := call(ctx, c, fmt.Sprintf("create image %q", image.Path), "", func() (struct{}, error) {
		return struct{}{}, c.inPool(filepath.Dir(image.Path), func(p *lv.StoragePool) error { return createVolume(p, image) })
	})
	return err
}

func createVolume(p *lv.StoragePool, image libvirt.Image) error {
	doc, err := volumeXML(image)
	if err != nil {
		return err
	}
	vol, err := p.StorageVolCreateXML(doc, 0)
	if err != nil {
		return err
	}
	return vol.Free()
}

// volumeXML describes an image as libvirt's formatstorage page has it.
func volumeXML(image libvirt.Image) (string, error) {
	vol := libvirtxml.StorageVolume{
		Name:       filepath.Base(image.Path),
		Capacity:   &libvirtxml.StorageVolumeSize{Unit: "bytes", Value: image.Capacity},
		Allocation: &libvirtxml.StorageVolumeSize{Unit: "bytes"},
		Target:     &libvirtxml.StorageVolumeTarget{Format: &libvirtxml.StorageVolumeTargetFormat{Type: image.Format}},
	}
	return vol.Marshal()
}

// RemoveImage removes the file at path through the storage pool that it lies in. That there is
// none is no error.
func (c *Conn) RemoveImage(ctx context.Context, path string) error {
	_, err := call(ctx, c, fmt.Sprintf("remove image %q", path), "", func() (struct{}, error) {
		return struct{}{}, c.inPool(filepath.Dir(path), func(p *lv.StoragePool) error { return removeVolume(p, filepath.Base(path)) })
	})
	return err
}

func removeVolume(p *lv.StoragePool, name string) error {
	vol, err := p.LookupStorageVolByName(name)
	var lerr lv.Error
	if errors.As(err, &lerr) && lerr.Code == lv.ERR_NO_STORAGE_VOL {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = vol.Free() }()
	return vol.Delete(lv.STORAGE_VOL_DELETE_NORMAL)
}

// inPool calls f with the storage pool whose target is dir, which is refreshed before: libvirt does not
// notice by itself that a file came or went, and what was removed by hand would be in the way.
func (c *Conn) inPool(dir string, f func(*lv.StoragePool) error) error {
	pool, err := c.lv.LookupStoragePoolByTargetPath(dir)
	if err != nil {
		return err
	}
	defer func() { _ = pool.Free() }()
	if err := pool.Refresh(0); err != nil {
		return err
	}
	return f(pool)
}
