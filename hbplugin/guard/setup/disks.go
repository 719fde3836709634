package setup

import (
	"context"
	"fmt"
	"os"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/inventory"
	"github.com/vmferry/vmferry/hbplugin/managers"
	"github.com/vmferry/vmferry/migrate/disks"
	"github.com/vmferry/vmferry/resource/domainxml"
	"github.com/vmferry/vmferry/resource/timely"
)

// CachedDisk is a disk of a guest whose last writes the kernel may still have when the guest's process has ended, on
// storage that another node can have.
type CachedDisk struct {
	Guest string
	On    string // what kind of storage that is
	domainxml.CachedDisk
}

// Backend is a device of a guest whose data may be written when the guest's process has ended.
type Backend struct {
	Guest string
	On    string // what kind of storage its directory is on; empty where a program serves it that the guard does not know
	domainxml.Backend
}

// disks looks at those of the guests that a manager has, by the files that their resources name. Of a file that cannot
// be read on this node, or not in time, nothing is known; "vmferry check" names it.
func (s Sources) disks(ctx context.Context, m inventory.Manager, o *Observed) {
	claims, err := managers.Ask(ctx, m.Claims)
	if err == nil { // a manager that does not answer is found elsewhere
		s.disksOf(ctx, claims, o)
	}
}

func (s Sources) disksOf(ctx context.Context, claims []hbplugin.Claim, o *Observed) {
	ctx, cancel := timely.Within(ctx, timely.StorageTime)
	defer cancel()
	kindOf := func(path string) (string, error) {
		return timely.Get(ctx, func() (string, error) { return disks.SharedBy(path) })
	}
	for _, c := range claims {
		file := s.Path(c.Environ.Params.File())
		d, err := timely.Get(ctx, func() (domainxml.Domain, error) { return domainxml.Read(file) })
		if err != nil {
			continue
		}
		for _, disk := range domainxml.CachedDisks(d.Text) {
			kind, err := kindOf(disk.Path)
			if on := sharedOn(disk, kind, err); on != "" {
				o.Cached = append(o.Cached, CachedDisk{Guest: d.Name, On: on, CachedDisk: disk})
			}
		}
		for _, b := range domainxml.Backends(d.Text) {
			kind := ""
			if b.Dir != "" {
				kind, _ = kindOf(b.Dir) // what is not known is not named
			}
			if b.Dir == "" || kind != "" {
				o.Backends = append(o.Backends, Backend{Guest: d.Name, On: kind, Backend: b})
			}
		}
	}
}

// sharedOn says on what of which another node can write the disk, and is empty for one that this node alone has. kind
// and err are what SharedBy says of its file: that of a guest elsewhere may lie in a directory that is not there.
func sharedOn(d domainxml.CachedDisk, kind string, err error) string {
	switch {
	case d.Block:
		return "a block device"
	case err == nil && kind != "":
		return kind
	case d.Shared:
		return "a shareable disk"
	}
	return ""
}

// OnThisNode reports whether path is, or will be, a file on a file system that this node alone has: the leases of the
// other nodes are not there. What cannot be told in time is no yes.
func OnThisNode(ctx context.Context, path string) bool {
	ctx, cancel := timely.Within(ctx, timely.StorageTime)
	defer cancel()
	is, err := timely.Get(ctx, func() (bool, error) {
		if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
			return false, nil
		}
		kind, err := disks.SharedBy(path)
		return kind == "", err
	})
	return is && err == nil
}

// Alone is what it means that OnThisNode is true of path.
func Alone(path string) string {
	return path + " is on a file system of this node alone: with a lease device that is not shared nothing is proven of other nodes"
}

// onThisNode: can the other nodes have the lease device?
func onThisNode(o Observed, f *findings) {
	if o.OnThisNode {
		f.warn(Alone(o.Settings.Device), "make the lease device on a block device or an NFS share that all nodes have")
	}
}

// cache: is all that a guest has written on the disk when its process has ended?
func cache(o Observed, f *findings) {
	for _, d := range o.Cached {
		f.warn(fmt.Sprintf("guest %s, disk %s (%s, on %s) has cache mode %s: the kernel may write to it when the guest has been "+
			"killed and runs elsewhere", d.Guest, d.Target, d.Path, d.On, d.Cache),
			"set <driver cache='none'/> for "+d.Target+" in the guest's file, and restart the guest")
	}
}

// backends: is there a program beside the guest, or a cache of the host's, that still writes when the guest has ended?
func backends(o Observed, f *findings) {
	for _, b := range o.Backends {
		if b.Dir == "" {
			f.warn(fmt.Sprintf("guest %s, %s: a program serves it that libvirt has not started (vhost-user): the guard does not know it, "+
				"and it may write when the guest has been killed and runs elsewhere", b.Guest, b.Device),
				"let libvirt start that program, or give "+b.Device+" another source")
			continue
		}
		f.warn(fmt.Sprintf("guest %s, %s (%s, on %s): the kernel may write to it when the guest has been killed and runs elsewhere",
			b.Guest, b.Device, b.Dir, b.On), "let the guest mount it over the network by itself")
	}
}
