package diskcopy

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/vmferry/vmferry/migrate/disks"
	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/record"
	"github.com/vmferry/vmferry/migrate/shellword"
)

// Finish makes true, at both ends, what the outcome of the move says of the disks, and forgets them. The notes say what
// a reader should know of that.
func (c *Copy) Finish(ctx context.Context, end record.Outcome) (notes []string) {
	for _, i := range c.images {
		if i.transfer == nil {
			continue
		}
		if end != record.Moved && end != record.Stayed {
			notes = append(notes, fmt.Sprintf("it is not known which copy of disk %q is current: "+
				"neither node starts the guest from it before a person has looked", i.Path))
		}
		if err := c.finish(ctx, i, end); err != nil {
			notes = append(notes, "cleaning up after the copy of a disk failed: "+err.Error())
		}
	}
	c.images = nil
	return notes
}

func (c *Copy) finish(ctx context.Context, i *image, end record.Outcome) error {
	switch end {
	case record.Moved:
		return errors.Join(i.transfer.Moved(), c.tidyTarget(ctx, i))
	case record.Stayed:
		if err := c.removeCopy(ctx, i); err != nil {
			return errors.Join(err, i.transfer.StayedWithCopy())
		}
		return i.transfer.Stayed()
	}
	return i.transfer.Close()
}

// removeCopy removes an unfinished copy at the target, if this move made it. The mark goes last: it says what the copy
// is.
func (c *Copy) removeCopy(ctx context.Context, i *image) error {
	if err := c.Target.Connect(ctx, endpoint.LookTime); err != nil {
		return fmt.Errorf("clean up at the target: %w", err)
	}
	if i.doubt {
		return fmt.Errorf("the target has not answered whether it made the image %q: "+
			"what it makes stays marked there as unfinished", i.Path)
	}
	if i.transfer.Note().Made {
		if err := c.Target.Host.RemoveImage(ctx, i.Path, i.mark()); err != nil {
			return err
		}
		if err := i.transfer.MadeImage(false); err != nil {
			return err
		}
	}
	return c.Target.Host.RemoveImage(ctx, i.mark().Path, i.mark())
}

// tidyTarget removes at the target what an earlier stay of the guest left there, and then the mark: the image is the
// current one. Where the mark is not there any more, another has seen that already, or looks at another directory now.
func (c *Copy) tidyTarget(ctx context.Context, i *image) error {
	if err := c.Target.Connect(ctx, endpoint.LookTime); err != nil {
		return fmt.Errorf("clean up at the target: %w", err)
	}
	host := c.Target.Host
	there, err := host.DiskVisible(ctx, libvirt.DiskSource{Path: i.Path})
	if err == nil && there == libvirt.VisibleNo {
		return fmt.Errorf("disk %q is not in its directory at the target, although the guest runs from it there: "+
			"something was mounted over it while the disk was copied; unmount that on %s before the guest is "+
			"stopped: %s", i.Path, c.Peer, shellword.Line("umount", filepath.Dir(i.Path)))
	}
	remove := []string{disks.ArrivingSuffix}
	if HasOld(ctx, host, i.Path, c.uuid) {
		remove = []string{disks.OldSuffix, disks.NoteSuffix, disks.ArrivingSuffix}
	}
	for _, suffix := range remove {
		if err := host.RemoveImage(ctx, i.Path+suffix, i.mark()); err != nil {
			return err
		}
	}
	return nil
}
