package resource

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/disks"
	"github.com/vmferry/vmferry/migrate/preflight"
	"github.com/vmferry/vmferry/resource/domainxml"
	"github.com/vmferry/vmferry/resource/observe"
)

// imagesTime bounds what is done with the files beside a guest's disks, on storage that may hang.
const imagesTime = 5 * time.Second

// images are the guest's disks in files, and the notes beside them: see package disks.
type images struct {
	config *configState
	guest  *observe.Identity // as the action knows it by now
	mode   preflight.DiskMode
	log    logrus.FieldLogger
}

func (i images) paths() []string { return domainxml.HostResourcesOf(i.config.domain.Text).Disks }

// check refuses to start a guest from a disk of which the truth is, or may be, on another
// node: see package disks. It asks no parameter: what was copied once stays so.
func (i images) check(ctx context.Context) error {
	return timely(ctx, func() error {
		for _, image := range i.paths() {
			if foreign := disks.Foreign(image); len(foreign) > 0 {
				i.log.Warnf("ignored beside disk %q, as no migration made it: %s", image, strings.Join(foreign, ", "))
			}
			if err := disks.Check(image); err != nil {
				return because(Generic, err, "guest %q not started", i.guest.Name)
			}
		}
		return nil
	})
}

// arrived makes the disks here the truth, as the guest runs here.
func (i images) arrived(ctx context.Context) { i.each(ctx, disks.Arrived) }

// forgetMoves is for a guest that was just started from its disks here.
func (i images) forgetMoves(ctx context.Context) { i.each(ctx, disks.Forget) }

// leaveBehind puts aside the disks that went with the guest, which is proven to run on another node. Whoever
// moved it did so already, unless he was killed before.
func (i images) leaveBehind(ctx context.Context) { i.each(ctx, disks.Gone) }

// each does nothing for a guest whose disks are never copied.
func (i images) each(ctx context.Context, do func(string) error) {
	if i.mode == preflight.DisksShared {
		return
	}
	ctx, cancel := within(ctx, imagesTime)
	defer cancel()
	err := timely(ctx, func() (err error) {
		for _, image := range i.paths() {
			err = errors.Join(err, do(image))
		}
		return err
	})
	if err != nil {
		i.log.WithError(err).Error("notes beside the guest's disks could not be updated: a later start may be refused")
	}
}
