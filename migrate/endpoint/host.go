package endpoint

import (
	"context"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// Gauge measures a guest and changes nothing. *client.Conn is one.
type Gauge interface {
	// Load is what the guest would give a migration to carry.
	Load(ctx context.Context, guest string) (libvirt.Load, error)
	// StartDirtyRate begins a measurement, of which Load has the result once span is over.
	StartDirtyRate(ctx context.Context, guest string, span time.Duration) error
}

// Host is what may be asked of libvirt at one end of a migration, and done there. All methods return when their context
// ends. *client.Conn is one.
type Host interface {
	Gauge

	// What libvirt knows of a guest.

	// Status fails with libvirt.ErrNoDomain when libvirt answered and knows no such guest.
	Status(ctx context.Context, guest string) (libvirt.Status, error)
	// Watch calls f, which does not block, for each of QEMU's events until stop is called.
	Watch(ctx context.Context, guest string, f func(libvirt.Event)) (stop func(), err error)
	// JobStats is the statistics of the job that is under way, not Active without one.
	JobStats(ctx context.Context, guest string) (libvirt.JobStats, error)
	// CompletedJob is that of the last job that ended.
	CompletedJob(ctx context.Context, guest string) (libvirt.JobStats, error)

	// A migration, which only the steps of a move change.

	// MigrateToURI3 returns when the migration ended, or at the context's end while it continues.
	MigrateToURI3(ctx context.Context, guest, target string, p libvirt.MigrateParams) error
	// SetMaxDowntime bounds the pause, of a migration under way or of the next one.
	SetMaxDowntime(ctx context.Context, guest string, limit time.Duration) error
	// SetMaxSpeed bounds what a migration under way may send, in MiB/s.
	SetMaxSpeed(ctx context.Context, guest string, mibs uint64, postCopy bool) error
	// StartPostCopy switches a migration under way to post-copy: the guest runs at the target, before all of its
	// memory is there.
	StartPostCopy(ctx context.Context, guest string) error
	// AbortJob ends the migration under way; the guest stays where it is.
	AbortJob(ctx context.Context, guest string) error
	// AbortPostCopy ends the job of a migration in its post-copy phase, which can be recovered then.
	AbortPostCopy(ctx context.Context, guest string) error
	// Resume lets a paused guest's processors run again.
	Resume(ctx context.Context, guest string) error

	// The questions of the pre-flight about a guest and what it needs.

	// XML is the description of the running guest.
	XML(ctx context.Context, guest string) (string, error)
	// Capabilities is what the host can run, as XML.
	Capabilities(ctx context.Context) (string, error)
	// FreeMemory is what a new guest may take, in bytes.
	FreeMemory(ctx context.Context) (uint64, error)
	// CompareCPU reports whether the host can be the processor that cpuXML describes.
	CompareCPU(ctx context.Context, m libvirt.Machine, cpuXML string) (bool, error)
	// DiskVisible reports whether the host has what a disk's source names. Yes and no are proven.
	DiskVisible(ctx context.Context, source libvirt.DiskSource) (libvirt.Visible, error)
	// DiskSize is how large the guest's disk of that name is, such as "vda".
	DiskSize(ctx context.Context, guest, disk string) (libvirt.DiskSize, error)
	// Room is how many bytes are free in the storage pool in the folder dir, which libvirt refreshes for that.
	Room(ctx context.Context, dir string) (uint64, error)

	// What libvirt itself would refuse.

	// Rehearse is nil where MigrateToURI3 would begin with the same arguments. At the context's end it returns,
	// and libvirt may continue with the question.
	Rehearse(ctx context.Context, guest, target string, p libvirt.MigrateParams) error
	// Portable is the description of the running guest as a target gets it.
	Portable(ctx context.Context, guest string) (string, error)
	// Accepts is nil where the host's hypervisor has what a guest of that description is made of.
	Accepts(ctx context.Context, domainXML string) error
	// Snapshots are those of the guest.
	Snapshots(ctx context.Context, guest string) (libvirt.Snapshots, error)

	// What a host has that a guest is connected to, or boots from.

	// Hostname is the name that the host gives itself.
	Hostname(ctx context.Context) (string, error)
	// Network fails with libvirt.ErrNoNetwork when libvirt answered and knows no such network.
	Network(ctx context.Context, name string) (libvirt.Network, error)
	// Names lists what is in a directory of the host.
	Names(ctx context.Context, dir string) ([]string, error)
	// Text reads the first limit bytes of a file of the host, and nothing where there is none.
	Text(ctx context.Context, file string, limit int) ([]byte, error)
	// FreePages is how many huge pages of size KiB are free.
	FreePages(ctx context.Context, size uint64) (uint64, error)
	// DomainCapabilities is what the emulator at that path of the host can do, as XML.
	DomainCapabilities(ctx context.Context, emulator string, m libvirt.Machine) (string, error)

	// Images at the target, in a storage pool, for disks that are copied.

	// CreateImage fails where there is a file of the name.
	CreateImage(ctx context.Context, image libvirt.Image) error
	// RemoveImage fails with libvirt.ErrForeign where the mark is not beside the file, and does nothing where there
	// is no file.
	RemoveImage(ctx context.Context, path string, mark libvirt.Mark) error
	// ReadImage reads the first limit bytes of a file, and nothing where there is none.
	ReadImage(ctx context.Context, path string, limit int) ([]byte, error)

	// Close gives the connection back. The host must not be used afterwards.
	Close() error
}
