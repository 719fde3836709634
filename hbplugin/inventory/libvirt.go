package inventory

import (
	"context"
	"errors"
	"time"

	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/libvirt"
)

// libvirtTime bounds one question to a libvirt: an answer that takes longer is a finding in itself.
const libvirtTime = 10 * time.Second

// Host is one libvirt: what a migration needs of it, and a little more.
type Host interface {
	endpoint.Host
	// Active lists the names of the guests that run there.
	Active(ctx context.Context) ([]string, error)
	// Hostname is what that node calls itself.
	Hostname(ctx context.Context) (string, error)
}

// Opener connects to the libvirt at a URI.
type Opener func(ctx context.Context, uri string) (Host, error)

// Ask connects to a libvirt, puts one question to it, and bounds the time of both.
func (open Opener) Ask(ctx context.Context, uri string, question func(context.Context, Host) error) error {
	ctx, cancel := context.WithTimeout(ctx, libvirtTime)
	defer cancel()
	h, err := open(ctx, uri)
	if err != nil {
		return err
	}
	defer h.Close()
	return question(ctx, h)
}

// Host is the connection as the migration engine wants it.
func (open Opener) Host(ctx context.Context, uri string) (endpoint.Host, error) {
	h, err := open(ctx, uri)
	if err != nil {
		return nil, err
	}
	return h, nil
}

// Status is a guest by the word of one libvirt; one that has no such guest has it shut off.
func (open Opener) Status(ctx context.Context, uri, name string) (*libvirt.Status, error) {
	var s libvirt.Status
	err := open.Ask(ctx, uri, func(ctx context.Context, h Host) (err error) {
		s, err = h.Status(ctx, name)
		return err
	})
	if errors.Is(err, libvirt.ErrNoDomain) {
		return &libvirt.Status{State: libvirt.ShutOff}, nil
	}
	if err != nil {
		return nil, err
	}
	return &s, nil
}

// running is what a libvirt says of its active guests.
func (open Opener) running(ctx context.Context, uri string) (map[string]libvirt.Status, error) {
	found := map[string]libvirt.Status{}
	err := open.Ask(ctx, uri, func(ctx context.Context, h Host) error {
		names, err := h.Active(ctx)
		if err != nil {
			return err
		}
		for _, name := range names {
			s, err := h.Status(ctx, name)
			if errors.Is(err, libvirt.ErrNoDomain) {
				continue // it ended meanwhile
			}
			if err != nil {
				return err
			}
			found[name] = s
		}
		return nil
	})
	return found, err
}
