package diskcopy

import (
	"context"
	"errors"
	"strings"

	"github.com/vmferry/vmferry/migrate/disks"
	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/record"
)

// Plan is how one disk is copied.
type Plan struct {
	record.CopiedDisk
	Image      libvirt.Image
	Previous   disks.Note // of an earlier move that left an unfinished copy at the target; zero without one
	ReplaceOld bool       // an old copy at the target is removed first, to make room
}

// Copy is the disks that are copied with one guest, none before Plan or Adopt. It is not for use by several goroutines
// at once.
type Copy struct {
	Meter
	Guest, Peer string // the guest, and the node that it moves to
	Target      *endpoint.Endpoint
	uuid        string
	images      []*image
}

// image is one of these disks, and what has been done for it.
type image struct {
	Plan
	doubt    bool            // the target did not answer the request to create it, and may still do that
	transfer *disks.Transfer // nil before it is begun
}

// mark is the one behind which the target's image lies. It is known once the copy has begun.
func (i *image) mark() libvirt.Mark {
	return libvirt.Mark{Path: i.Path + disks.ArrivingSuffix, Size: i.transfer.Note().Mark}
}

// Plan says which disks are copied, of the guest with that UUID.
func (c *Copy) Plan(uuid string, plans []Plan) {
	c.uuid, c.images = uuid, nil
	for _, p := range plans {
		c.images = append(c.images, &image{Plan: p})
	}
}

// Adopt takes over those of the guest's disks that a process which has died since began to copy. problems are of disks
// of which that is not known.
func (c *Copy) Adopt(uuid string, all []record.CopiedDisk) (problems []error) {
	c.uuid = uuid
	for _, d := range all {
		l, ok, err := disks.Adopt(d.Path)
		if err != nil {
			problems = append(problems, err)
		}
		if ok {
			c.images = append(c.images, &image{Plan: Plan{CopiedDisk: d}, transfer: l})
		}
	}
	return problems
}

// Empty reports whether no disk is copied.
func (c *Copy) Empty() bool { return len(c.images) == 0 }

// Targets are the names of the disks, such as "vda".
func (c *Copy) Targets() (names []string) {
	for _, i := range c.images {
		names = append(names, i.Target)
	}
	return names
}

// Bytes is how much the images take up.
func (c *Copy) Bytes() (all uint64) {
	for _, i := range c.images {
		all += i.Bytes
	}
	return all
}

// Cost is how many bytes the bandwidth has to be divided by: against a bound QEMU counts what an image does not hold,
// too, and sends next to nothing of it.
func (c *Copy) Cost(bounded bool) (all uint64) {
	if !bounded {
		return c.Bytes()
	}
	for _, i := range c.images {
		all += i.Image.Capacity
	}
	return all
}

// HandOver notes that the memory begins to flow: from here on the guest may run at the target. It may be called again.
func (c *Copy) HandOver() error {
	var errs []error
	for _, i := range c.images {
		if i.transfer != nil {
			errs = append(errs, i.transfer.HandOver())
		}
	}
	return errors.Join(errs...)
}

// noteLimit is longer than any note, in bytes.
const noteLimit = 4 << 10

// HasOld reports whether a host has an old copy of an image that the guest with that UUID left there: the note beside
// it says so.
func HasOld(ctx context.Context, h endpoint.Host, path, uuid string) bool {
	raw, err := h.ReadImage(ctx, path+disks.NoteSuffix, noteLimit)
	if err != nil || len(raw) == 0 {
		return false
	}
	note, err := disks.ParseNote(raw)
	if err != nil || note.Stage != disks.Moved || !strings.EqualFold(note.UUID, uuid) {
		return false
	}
	there, err := h.DiskVisible(ctx, libvirt.DiskSource{Path: path + disks.OldSuffix})
	return err == nil && there == libvirt.VisibleYes
}
