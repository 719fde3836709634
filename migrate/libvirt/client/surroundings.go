package client

import (
	"context"
	"errors"
	"fmt"
	"path"
	"time"

	lv "libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// Network describes the network of that name. The error is [libvirt.ErrNoNetwork] where libvirt answered and knows none
// (virNetworkLookupByName).
func (c Node) Network(ctx context.Context, name string) (libvirt.Network, error) {
	return call(ctx, c.session, fmt.Sprintf("look for network %q", name), "", func() (libvirt.Network, error) {
		n, err := c.lv.LookupNetworkByName(name)
		if err != nil {
			return libvirt.Network{}, err
		}
		defer func() { _ = n.Free() }()
		active, err := n.IsActive()
		if err != nil {
			return libvirt.Network{}, err
		}
		doc, err := n.GetXMLDesc(0)
		return libvirt.Network{XML: doc, Active: active}, err
	})
}

// lookPool begins the name of the pool that Names makes. Others may look at the same time, with a pool of the same
// directory, which libvirt allows once: so it is tried lookTries times, with lookWait more between each two.
const (
	lookPool  = "vmferry-look-"
	lookTries = 12
	lookWait  = 10 * time.Millisecond
)

// Names lists what is in the directory dir of the host, as libvirt's storage driver sees it: through the pool that has
// it as its target, or else through one that exists for this question alone. Nothing is written. A process that is
// killed meanwhile leaves that pool behind, and the next question uses it. dir should be small: libvirt looks into each
// file.
//
// It is how the devices of a host's network are found, in /sys/class/net: the node device driver leaves out bridges,
// bonds and VLANs (udevGetDeviceType of libvirt 11.3 knows no DEVTYPE of them), and the interface driver is seldom
// installed.
func (c Storage) Names(ctx context.Context, dir string) ([]string, error) {
	return call(ctx, c.session, fmt.Sprintf("look into %q", dir), "", func() (names []string, err error) {
		err = c.lookInto(ctx, dir, func(p *lv.StoragePool) (err error) {
			names, err = p.ListStorageVolumes()
			return err
		})
		return names, err
	})
}

// Text reads a small file of the host, of at most limit bytes, in the way of [Conn.Names]. That there is none is no
// error: then nothing is returned.
func (c Storage) Text(ctx context.Context, file string, limit int) ([]byte, error) {
	return c.readVolume(ctx, file, limit, c.lookInto)
}

// lookInto calls f with a pool of the directory, and again where another's pool was in the way.
func (c Storage) lookInto(ctx context.Context, dir string, f func(*lv.StoragePool) error) (err error) {
	for try := range time.Duration(lookTries) {
		if err = c.onceInto(ctx, dir, f); err == nil || ctx.Err() != nil || !isTaken(err) {
			break
		}
		time.Sleep(try * lookWait)
	}
	return err
}

// isTaken reports whether another's pool was in the way, or has just gone.
func isTaken(err error) bool {
	var lerr lv.Error
	return errors.As(err, &lerr) && lerr.Domain == lv.FROM_STORAGE &&
		(lerr.Code == lv.ERR_OPERATION_FAILED || lerr.Code == lv.ERR_OPERATION_INVALID ||
			lerr.Code == lv.ERR_NO_STORAGE_POOL)
}

func (c Storage) onceInto(ctx context.Context, dir string, f func(*lv.StoragePool) error) error {
	err := c.inPool(ctx, dir, f)
	if !isCode(err, lv.ERR_NO_STORAGE_POOL) {
		return err
	}
	doc, err := (&libvirtxml.StoragePool{Type: "dir", Name: lookPool + path.Base(dir),
		Target: &libvirtxml.StoragePoolTarget{Path: dir}}).Marshal()
	if err != nil {
		return err
	}
	pool, err := c.lv.StoragePoolCreateXML(doc, lv.STORAGE_POOL_CREATE_NORMAL)
	if err != nil {
		return err
	}
	defer func() { _ = pool.Free() }()
	defer func() { _ = pool.Destroy() }() // which leaves the directory alone
	return f(pool)
}

// DomainCapabilities is what the host's emulator at that path can do in such a guest, as XML
// (virConnectGetDomainCapabilities).
func (c Node) DomainCapabilities(ctx context.Context, emulator string, m libvirt.Machine) (string, error) {
	return call(ctx, c.session, "domain capabilities", "", func() (string, error) {
		return c.lv.GetDomainCapabilities(emulator, m.Arch, m.Type, m.VirtType, 0)
	})
}

// FreePages is how many huge pages of size KiB are free on the host, of all its NUMA nodes (virNodeGetFreePages).
func (c Node) FreePages(ctx context.Context, size uint64) (uint64, error) {
	return call(ctx, c.session, "free huge pages", "", func() (uint64, error) {
		pages, err := c.lv.GetFreePages([]uint64{size}, -1, 1, 0)
		var all uint64
		for _, n := range pages {
			all += n
		}
		return all, err
	})
}
