package resource

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/disks"
	"github.com/vmferry/vmferry/resource/domainxml"
)

// imagesTime bounds what is done with the files beside a guest's disks, on storage that may hang.
const imagesTime = 5 * time.Second

// checkImages refuses to start a guest from a disk of which the truth is, or may be, on another
// node: see package disks. It asks no parameter: what was copied once stays so.
func (a *run) checkImages(ctx context.Context) error {
	return timely(ctx, func() error {
		for _, image := range domainxml.HostResourcesOf(a.config.domain.Text).Disks {
			if foreign := disks.Foreign(image); len(foreign) > 0 {
				a.Log.Warnf("ignored beside disk %q, as no migration made it: %s", image, strings.Join(foreign, ", "))
			}
			if err := disks.Check(image); err != nil {
				return because(Generic, err, "guest %q not started", a.guest.Name)
			}
		}
		return nil
	})
}

// arrived makes the disks here the truth, as the guest runs here.
func (a *run) arrived(ctx context.Context) { a.eachImage(ctx, disks.Arrived) }

// forgetMoves is for a guest that was just started from its disks here.
func (a *run) forgetMoves(ctx context.Context) { a.eachImage(ctx, disks.Forget) }

// leaveBehind puts aside the disks that went with the guest, which is proven to run on another node. Whoever
// moved it did so already, unless he was killed before.
func (a *run) leaveBehind(ctx context.Context) { a.eachImage(ctx, disks.Gone) }

// eachImage does nothing for a guest whose disks are never copied.
func (a *run) eachImage(ctx context.Context, do func(string) error) {
	if a.Params.Disks == migrate.DisksShared {
		return
	}
	ctx, cancel := within(ctx, imagesTime)
	defer cancel()
	err := timely(ctx, func() (err error) {
		for _, image := range domainxml.HostResourcesOf(a.config.domain.Text).Disks {
			err = errors.Join(err, do(image))
		}
		return err
	})
	if err != nil {
		a.Log.WithError(err).Error("notes beside the guest's disks could not be updated: a later start may be refused")
	}
}
