package observe

import (
	"context"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/hostproc"
)

// Hypervisor is a connection to one libvirt. Errors are those of package migrate/libvirt; every method returns at
// the end of its context. A name may be a [libvirt.Ref], by which another guest of that name is not found.
type Hypervisor interface {
	DomainControl
	DomainInfo
	Host
	// Close gives the connection back.
	Close() error
}

// DomainControl starts and ends a guest.
type DomainControl interface {
	// Create starts the guest that xml describes, and defines nothing.
	Create(ctx context.Context, xml string) error
	// Shutdown asks the guest to shut down and does not wait. mode is "acpi", "agent",
	// or empty for the driver's choice.
	Shutdown(ctx context.Context, name, mode string) error
	// Destroy stops the guest at once.
	Destroy(ctx context.Context, name string) error
	// Save puts the guest's memory and state into a file and ends the guest; when ctx
	// ends first, it continues, and AbortJob ends it.
	Save(ctx context.Context, name, path string) error
	// Restore starts the guest that Save put into the file, as xml describes it, or as the file does where that is
	// empty.
	Restore(ctx context.Context, path, xml string) error
	// AbortJob ends a migration or a save of the guest that is under way; the guest stays.
	AbortJob(ctx context.Context, name string) error
}

// DomainInfo describes a guest.
type DomainInfo interface {
	// Status is the state of the guest; libvirt.ErrNoDomain says that it is not known here, by its UUID where name
	// has one.
	Status(ctx context.Context, name string) (libvirt.Status, error)
	// Info is how large the guest is.
	Info(ctx context.Context, name string) (libvirt.Info, error)
	// Definition is the XML from which the guest would be started again, with its secrets.
	Definition(ctx context.Context, name string) (string, error)
	// AgentPing returns nil when the guest's agent answers.
	AgentPing(ctx context.Context, name string) error
}

// Host is the node around the guest.
type Host interface {
	// Busy names the guests that the hypervisor is at work on: a migration, a save, a start.
	Busy(ctx context.Context) ([]string, error)
	// Residents lists the active guests, in no order.
	Residents(ctx context.Context) ([]libvirt.Resident, error)
	// FreeMemory is what a new guest may take, in bytes.
	FreeMemory(ctx context.Context) (uint64, error)
	// StartNetwork starts a network that is not active.
	StartNetwork(ctx context.Context, name string) error
	// StartPool starts a storage pool that is not active, and refreshes one that is.
	StartPool(ctx context.Context, name string) error
	// DomainXML turns a configuration in another format, such as libvirt.NativeXL, into XML.
	DomainXML(ctx context.Context, format, text string) (string, error)
}

// Processes finds and kills what runs guests without libvirt: QEMU's processes, or Xen's domains. Package
// hostproc/local has the real ones. It may be a [Shutdowner], a [Resumer] and a [MigrationAborter], too.
type Processes interface {
	// Find lists the processes of the guest on this node; an error means "cannot tell".
	Find(ctx context.Context, name, uuid string) ([]hostproc.Process, error)
	// Kill ends the process, with SIGTERM and after grace with SIGKILL; nil is proof of
	// its exit.
	Kill(ctx context.Context, p hostproc.Process, grace time.Duration) error
}

// Shutdowner can ask a guest to shut down without libvirt.
type Shutdowner interface {
	// Shutdown asks the guest, with mode as the parameter shutdown_mode has it, and waits for its end; nil is proof
	// of that.
	Shutdown(ctx context.Context, p hostproc.Process, mode string) error
}

// Resumer knows a guest that is paused since a switchover or a save of it failed, and can resume it.
type Resumer interface {
	// Halted reports whether the guest is here and is paused so; an error means "cannot tell".
	Halted(ctx context.Context, name, uuid string) (bool, error)
	// Wake resumes that guest here. It is for one that runs nowhere else.
	Wake(ctx context.Context, name, uuid string) error
}

// MigrationAborter can abort the migration of a guest where libvirt's driver cannot.
type MigrationAborter interface {
	// Abort aborts what copies the guest from here, and does not wait for its end. The guest stays, maybe halted as a
	// [Resumer] tells. An error says that nothing was aborted.
	Abort(ctx context.Context, name, uuid string) error
}
