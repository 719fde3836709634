package resource

import (
	"context"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// Keeper is what a Hypervisor can do beyond a guest's start and end. Its methods obey their
// context and fail as those of [Hypervisor].
type Keeper interface {
	// Info tells how large the guest is.
	Info(ctx context.Context, name string) (libvirt.Info, error)
	// Busy names the guests that the hypervisor is at work on: a migration, a saving, a start.
	Busy(ctx context.Context) ([]string, error)
	// Residents lists the active guests, in no order.
	Residents(ctx context.Context) ([]libvirt.Resident, error)
	// FreeMemory is what a new guest may take, in bytes.
	FreeMemory(ctx context.Context) (uint64, error)
	// Definition is the XML from which the guest would be started again, with its secrets.
	Definition(ctx context.Context, name string) (string, error)
	// Save puts the guest's memory and state into a file and ends the guest; when ctx
	// ends first, it goes on, and AbortJob ends it.
	Save(ctx context.Context, name, path string) error
	// Restore starts the guest that Save put into the file, as xml describes it, or as the file does where that is empty.
	Restore(ctx context.Context, path, xml string) error
	// StartNetwork starts a network that is not active.
	StartNetwork(ctx context.Context, name string) error
	// StartPool starts a storage pool that is not active, and refreshes one that is.
	StartPool(ctx context.Context, name string) error
	// AgentPing returns nil when the guest's agent answers.
	AgentPing(ctx context.Context, name string) error
	// DomainXML turns a configuration in another format, such as libvirt.NativeXL, into XML.
	DomainXML(ctx context.Context, format, text string) (string, error)
}
