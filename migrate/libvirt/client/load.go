package client

import (
	"context"
	"errors"
	"time"

	lv "libvirt.org/go/libvirt"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// StartDirtyRate begins to measure how fast the domain writes to its memory, and returns at once:
// [Conn.Load] has the result when span is over. span counts in whole seconds from 1 to 60. QEMU
// samples pages for it, which costs the guest next to nothing
// (virDomainStartDirtyRateCalc, libvirt 7.2). The call fails while another measurement is under way.
func (c Migrations) StartDirtyRate(ctx context.Context, name string, span time.Duration) error {
	seconds := min(max(int((span+time.Second-1)/time.Second), 1), 60)
	return doDomain(ctx, c.session, "measure the dirty rate of", name, func(d *lv.Domain) error {
		return d.StartDirtyRateCalc(seconds, lv.DOMAIN_DIRTYRATE_MODE_PAGE_SAMPLING)
	})
}

// Load asks what the domain would give a migration to carry. A domain that is busy with another
// job answers with what libvirt knows already (virDomainListGetStats). Of a driver without these statistics
// the domain's memory is all that is known (virDomainGetInfo).
func (c Migrations) Load(ctx context.Context, name string) (libvirt.Load, error) {
	return withDomain(ctx, c.session, "ask the load of", name, func(d *lv.Domain) (libvirt.Load, error) {
		all, err := c.lv.GetAllDomainStats([]*lv.Domain{d}, lv.DOMAIN_STATS_BALLOON|lv.DOMAIN_STATS_DIRTYRATE,
			lv.CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT)
		var load libvirt.Load
		for i := range all {
			load = loadOf(&all[i])
			_ = all[i].Domain.Free()
		}
		if err != nil && errors.Is(wrap("", "", "", err), libvirt.ErrUnsupported) {
			info, err := d.GetInfo()
			if err != nil {
				return libvirt.Load{}, err
			}
			return libvirt.Load{Memory: info.Memory << 10}, nil
		}
		return load, err
	})
}

// loadOf puts libvirt's statistics into our words.
func loadOf(s *lv.DomainStats) libvirt.Load {
	var load libvirt.Load
	if b := s.Balloon; b != nil {
		load.Memory, load.Resident = b.Current<<10, b.Rss<<10
	}
	if r := s.DirtyRate; r != nil && r.CalcStatus == int(lv.DOMAIN_DIRTYRATE_MEASURED) && r.MegabytesPerSecondSet {
		load.Dirty = libvirt.Dirty{Measured: true, Rate: uint64(max(r.MegabytesPerSecond, 0)) << 20,
			Since: time.Unix(r.CalcStartTime, 0)}
	}
	return load
}
