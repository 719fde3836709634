package main

import (
	"context"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// Hostname is an address, as the nodes' names are in no DNS.
func (h *fakeHost) Hostname(context.Context) (string, error) {
	return "2001:db8::" + h.Hostname_[1:], nil
}

// Rehearse has nothing against any guest.
func (h *fakeHost) Rehearse(context.Context, string, string, libvirt.MigrateParams) error { return nil }

func (h *fakeHost) Portable(ctx context.Context, guest string) (string, error) {
	return h.XML(ctx, guest)
}

func (h *fakeHost) Accepts(context.Context, string) error { return nil }

func (h *fakeHost) Names(context.Context, string) ([]string, error) {
	return nil, libvirt.ErrUnsupported
}

func (h *fakeHost) Text(context.Context, string, int) ([]byte, error) {
	return nil, libvirt.ErrUnsupported
}

func (h *fakeHost) Snapshots(context.Context, string) (libvirt.Snapshots, error) {
	return libvirt.Snapshots{}, nil
}

func (h *fakeHost) Network(context.Context, string) (libvirt.Network, error) {
	return libvirt.Network{Active: true}, nil
}

func (h *fakeHost) FreePages(context.Context, uint64) (uint64, error) {
	return 0, libvirt.ErrUnsupported
}

func (h *fakeHost) DomainCapabilities(context.Context, string, libvirt.Machine) (string, error) {
	return "", nil
}
