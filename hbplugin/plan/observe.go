package plan

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/vmferry/vmferry/hbplugin/inventory"
	"github.com/vmferry/vmferry/migrate/history"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/predict"
	"github.com/vmferry/vmferry/migrate/preflight"
	"github.com/vmferry/vmferry/migrate/record"
)

// Sources are where a plan's facts come from.
type Sources struct {
	Open                   inventory.Opener
	Records, Links, Guests string // the files of what earlier migrations taught
}

// Route reads what migrations have taught of the links to the peers that are up, and of the guests. rate, in bytes per
// second, takes the place of what the link has carried; 0 for none. Where there are several peers the slowest link that
// is known is reckoned with, as the manager chooses.
func (s Sources) Route(ctx context.Context, o *Observed, managers []inventory.Manager, rate uint64) error {
	var up []string
	for _, m := range managers {
		peers, err := m.PeersUp(ctx)
		if err != nil {
			return fmt.Errorf("cannot tell which nodes there are: %w", err)
		}
		up = append(up, peers...)
	}
	if len(managers) > 0 && len(up) == 0 {
		return errors.New("no other node is up: there is nowhere to go")
	}
	links, err := history.ReadLinks(s.Links)
	if err != nil {
		return err
	}
	for name, l := range links {
		known := len(up) == 0 || slices.Contains(up, name)
		if known && l.Bandwidth > 0 && (o.Link.Bandwidth == 0 || l.Bandwidth < o.Link.Bandwidth) {
			o.Link = l
		}
	}
	if o.Profiles, err = history.ReadGuests(s.Guests); err != nil {
		return err
	}
	o.Link.Bandwidth = cmp.Or(rate, o.Link.Bandwidth)
	if o.Link.Bandwidth == 0 {
		return errors.New("the bandwidth of the link is unknown, as no migration was recorded yet: pass " +
			"--bandwidth MIB_PER_SECOND")
	}
	o.StoreRate, err = s.storeRate()
	return err
}

// Measure finds out what each guest has to carry, all at once. Without dirty the rates are not measured.
func (s Sources) Measure(ctx context.Context, o *Observed, guests []*inventory.Guest, dirty bool) error {
	o.Loads, o.Disks = map[string]libvirt.Load{}, map[string]uint64{}
	var wait sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for _, g := range guests {
		if !g.IsActive() {
			continue
		}
		wait.Go(func() {
			load, disks, err := s.load(ctx, g, dirty)
			mu.Lock()
			defer mu.Unlock()
			o.Loads[g.Name], o.Disks[g.Name] = load, disks
			if err != nil && !errors.Is(err, libvirt.ErrNoDomain) { // else it ended meanwhile
				errs = append(errs, err)
			}
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

func (s Sources) load(ctx context.Context, g *inventory.Guest, dirty bool) (load libvirt.Load, disks uint64,
	err error) {
	err = s.Open.Ask(ctx, g.URI, func(ctx context.Context, h inventory.Host) error {
		if g.Claim != nil {
			if disks, err = preflight.DiskBytes(ctx, h, g.Name, g.Claim.Environ.Params.Disks); err != nil {
				return err
			}
		}
		if dirty {
			load, err = predict.Measure(ctx, h, g.Name, time.Second)
			return err
		}
		load, err = h.Load(ctx, g.Name)
		load.Dirty = libvirt.Dirty{} // of some other time
		return err
	})
	return load, disks, err
}

// defaultStoreRate is what shared storage takes where no guest was saved yet, in bytes per second.
const defaultStoreRate = 64 << 20

// storeRate is how fast the last guest was saved from here.
func (s Sources) storeRate() (float64, error) {
	records, err := history.ReadRecords(s.Records)
	if err != nil {
		return 0, err
	}
	for _, r := range slices.Backward(records) {
		if n := len(r.Rungs); r.Outcome == record.Ended && r.Rung.Saves() && n > 0 && r.Rungs[n-1].MS > 0 &&
			r.Transferred > 0 {
			return float64(r.Transferred) / r.Rungs[n-1].MS * 1000, nil
		}
	}
	return defaultStoreRate, nil
}
