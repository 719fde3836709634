package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	lv "libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// DiskSize asks how large a running domain's disk is; disk is its target, such as "vda"
// (virDomainGetBlockInfo).
func (c Storage) DiskSize(ctx context.Context, name, disk string) (libvirt.DiskSize, error) {
	return withDomain(ctx, c.session, "ask the size of disk "+disk+" of", name,
		func(d *lv.Domain) (libvirt.DiskSize, error) {
			info, err := d.GetBlockInfo(disk, 0)
			if err != nil {
				return libvirt.DiskSize{}, err
			}
			return libvirt.DiskSize{Capacity: info.Capacity, Allocated: info.Allocation}, nil
		})
}

// Room is how many bytes are free in the storage pool whose target is dir. It refreshes the pool.
func (c Storage) Room(ctx context.Context, dir string) (uint64, error) {
	return call(ctx, c.session, fmt.Sprintf("ask the room in %q", dir), "", func() (room uint64, err error) {
		err = c.inPool(ctx, dir, func(p *lv.StoragePool) error {
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
func (c Storage) CreateImage(ctx context.Context, image libvirt.Image) error {
	return do(ctx, c.session, fmt.Sprintf("create image %q", image.Path), "", func() error {
		return c.inPool(ctx, filepath.Dir(image.Path), func(p *lv.StoragePool) error { return createVolume(p, image) })
	})
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

// RemoveImage removes the file at path through the storage pool that it lies in, if the mark lies there too; without it
// the error is [libvirt.ErrForeign], and nothing is removed. That there is no file is no error. libvirt cannot do
// both in one step: the mark and the file are looked at in one refresh of the pool, just before.
func (c Storage) RemoveImage(ctx context.Context, path string, mark libvirt.Mark) error {
	return do(ctx, c.session, fmt.Sprintf("remove image %q", path), "", func() error {
		return c.inPool(ctx, filepath.Dir(path), func(p *lv.StoragePool) error { return removeVolume(p, path, mark) })
	})
}

func removeVolume(p *lv.StoragePool, path string, mark libvirt.Mark) error {
	vol, err := lookupVolume(p, filepath.Base(path))
	if vol == nil || err != nil {
		return err
	}
	defer func() { _ = vol.Free() }()
	if err := checkMark(p, path, mark); err != nil {
		return err
	}
	return vol.Delete(lv.STORAGE_VOL_DELETE_NORMAL)
}

// checkMark wants the mark in the same directory, of its size.
func checkMark(p *lv.StoragePool, path string, mark libvirt.Mark) error {
	if mark.Size == 0 || filepath.Dir(mark.Path) != filepath.Dir(path) {
		return libvirt.ErrForeign
	}
	vol, err := lookupVolume(p, filepath.Base(mark.Path))
	if err != nil {
		return err
	}
	if vol == nil {
		return libvirt.ErrForeign
	}
	defer func() { _ = vol.Free() }()
	info, err := vol.GetInfo()
	if err != nil {
		return err
	}
	if info.Capacity != mark.Size {
		return libvirt.ErrForeign
	}
	return nil
}

// lookupVolume returns nil where the pool has no such volume.
func lookupVolume(p *lv.StoragePool, name string) (*lv.StorageVol, error) {
	vol, err := p.LookupStorageVolByName(name)
	if isCode(err, lv.ERR_NO_STORAGE_VOL) {
		return nil, nil
	}
	return vol, err
}

func isCode(err error, code lv.ErrorNumber) bool {
	var lerr lv.Error
	return errors.As(err, &lerr) && lerr.Code == code
}

// ReadImage reads a small file, of at most limit bytes, through the storage pool that it lies in. That there is none
// is no error: then nothing is returned.
func (c Storage) ReadImage(ctx context.Context, path string, limit int) ([]byte, error) {
	return c.readVolume(ctx, path, limit, c.inPool)
}

// withPool calls f with a storage pool of a directory.
type withPool func(ctx context.Context, dir string, f func(*lv.StoragePool) error) error

// readVolume reads a file through a pool of its directory. Without such a file it returns nothing.
func (c Storage) readVolume(ctx context.Context, path string, limit int, in withPool) ([]byte, error) {
	return call(ctx, c.session, fmt.Sprintf("read %q", path), "", func() (raw []byte, err error) {
		err = in(ctx, filepath.Dir(path), func(p *lv.StoragePool) error {
			vol, err := lookupVolume(p, filepath.Base(path))
			if vol == nil || err != nil {
				return err
			}
			defer func() { _ = vol.Free() }()
			raw, err = c.download(vol, limit)
			return err
		})
		return raw, err
	})
}

// download reads the first bytes of a volume (virStorageVolDownload).
func (c Storage) download(vol *lv.StorageVol, limit int) ([]byte, error) {
	stream, err := c.lv.NewStream(0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = stream.Free() }()
	if err := vol.Download(stream, 0, uint64(limit), 0); err != nil {
		return nil, err
	}
	raw := make([]byte, 0, limit)
	for len(raw) < limit {
		n, err := stream.Recv(raw[len(raw):limit])
		if errors.Is(err, io.EOF) {
			return raw, stream.Finish()
		}
		if err != nil {
			return nil, err
		}
		raw = raw[:len(raw)+max(n, 0)]
	}
	return raw, stream.Abort()
}

// inPool calls f with the storage pool whose target is dir, which is refreshed before: libvirt does not
// notice by itself that a file came or went, and what was removed by hand would be in the way. A refresh can outlast
// ctx, whose owner has drawn his conclusions then: f is not called any more.
func (c Storage) inPool(ctx context.Context, dir string, f func(*lv.StoragePool) error) error {
	pool, err := c.lv.LookupStoragePoolByTargetPath(dir)
	if err != nil {
		return err
	}
	defer func() { _ = pool.Free() }()
	if err := ownsDirectory(pool); err != nil {
		return err
	}
	if err := pool.Refresh(0); err != nil {
		return err
	}
	return inTime(ctx, pool, f)
}

// inTime calls f unless ctx has ended.
func inTime(ctx context.Context, pool *lv.StoragePool, f func(*lv.StoragePool) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return f(pool)
}

// directoryPools are the types of pools whose volumes are all files of their directory. Others list something else, of
// which some may be seen in that directory: logical volumes, or the devices of one iSCSI target under
// /dev/disk/by-path.
var directoryPools = []string{"dir", "fs", "netfs"}

// ownsDirectory returns why what a pool does not list may be in its directory all the same.
func ownsDirectory(pool *lv.StoragePool) error {
	doc, err := pool.GetXMLDesc(0)
	if err != nil {
		return err
	}
	var def libvirtxml.StoragePool
	if err := def.Unmarshal(doc); err != nil {
		return err
	}
	if !slices.Contains(directoryPools, def.Type) {
		return fmt.Errorf("storage pool %q is of type %q, which does not list the files of its directory",
			def.Name, def.Type)
	}
	return nil
}
