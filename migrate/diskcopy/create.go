package diskcopy

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/vmferry/vmferry/migrate/disks"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/record"
)

// Create makes the images at the target that the disks are copied to, each behind a mark that says that it is not
// complete, and notes that here. begun are those of which something may have been made: after an error, too, Finish has
// to be called. Without watched nobody will report the end of the copying: then each is handed over at once.
func (c *Copy) Create(ctx context.Context, watched bool) (begun []record.CopiedDisk, err error) {
	for _, i := range c.images {
		begun = append(begun, i.CopiedDisk)
		if err := c.create(ctx, i); err != nil {
			return begun, fmt.Errorf("copy disk %q: %w", i.Path, err)
		}
	}
	if !watched {
		return begun, c.HandOver()
	}
	return begun, nil
}

func (c *Copy) create(ctx context.Context, i *image) (err error) {
	defer func() { i.doubt = err != nil && (ctx.Err() != nil || errors.Is(err, libvirt.ErrConnect)) }()
	note := disks.Note{Guest: c.Guest, UUID: c.uuid, Peer: c.Peer, Mark: cmp.Or(i.Previous.Mark, disks.NewMark()),
		Made: i.Previous.Made}
	if i.transfer, err = disks.Begin(i.Path, note); err != nil {
		return err
	}
	host := c.Target.Host
	if i.Previous.Mark != 0 {
		if err = host.RemoveImage(ctx, i.Path, i.mark()); err == nil {
			err = i.transfer.MadeImage(false) // and not before: what is not noted as made loses its mark, and is kept
		}
	} else {
		err = host.CreateImage(ctx, libvirt.Image{Path: i.mark().Path, Format: "raw", Capacity: i.mark().Size})
	}
	if err == nil && i.ReplaceOld {
		err = host.RemoveImage(ctx, i.Path+disks.OldSuffix, i.mark())
	}
	if err == nil {
		err = host.CreateImage(ctx, i.Image)
	}
	if err == nil {
		err = i.transfer.MadeImage(true)
	}
	return err
}
