package client

import (
	"context"

	lv "libvirt.org/go/libvirt"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// Residents lists all active domains, in no order, with one question to the daemon (virConnectListAllDomains). Xen's
// Domain-0 is the host itself, and none of them.
func (c Domains) Residents(ctx context.Context) ([]libvirt.Resident, error) {
	return call(ctx, c.session, "list", "", func() ([]libvirt.Resident, error) {
		doms, err := c.lv.ListAllDomains(lv.CONNECT_LIST_DOMAINS_ACTIVE)
		if err != nil {
			return nil, err
		}
		all := make([]libvirt.Resident, 0, len(doms))
		for i := range doms {
			r, isHost, rerr := resident(&doms[i])
			switch {
			case rerr != nil:
				err = rerr // the list would not be whole
			case !isHost:
				all = append(all, r)
			}
			_ = doms[i].Free()
		}
		return all, err
	})
}

// resident names a domain. libvirt's library has all of that, and asks no daemon.
func resident(d *lv.Domain) (r libvirt.Resident, isHost bool, err error) {
	if id, err := d.GetID(); err == nil && id == 0 {
		return r, true, nil
	}
	if r.Name, err = d.GetName(); err != nil {
		return r, false, err
	}
	r.UUID, err = d.GetUUIDString()
	return r, false, err
}
