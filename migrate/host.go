package migrate

import (
	"context"
	"net/netip"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/events"
	"github.com/vmferry/vmferry/migrate/libvirt"
)

// Witness tells what one node's libvirt knows of a guest. All methods return when
// their context ends.
type Witness interface {
	// Status fails with libvirt.ErrNoDomain when libvirt answered and knows no such guest.
	Status(ctx context.Context, guest string) (libvirt.Status, error)
	// Watch calls f, which does not block, for each of QEMU's events until stop is called.
	Watch(ctx context.Context, guest string, f func(libvirt.Event)) (stop func(), err error)
	// JobStats tells of the job that is under way, and is not Active without one.
	JobStats(ctx context.Context, guest string) (libvirt.JobStats, error)
	// CompletedJob tells of the last one that ended.
	CompletedJob(ctx context.Context, guest string) (libvirt.JobStats, error)
}

// Mover changes something at the source. Only Move's steps call it.
type Mover interface {
	// MigrateToURI3 returns when the migration ended, or at the context's end while it goes on.
	MigrateToURI3(ctx context.Context, guest, target string, p libvirt.MigrateParams) error
	// SetMaxDowntime bounds the pause, of a migration under way or of the next one.
	SetMaxDowntime(ctx context.Context, guest string, limit time.Duration) error
	// SetMaxSpeed bounds what a migration under way may send, in MiB/s.
	SetMaxSpeed(ctx context.Context, guest string, mibs uint64, postCopy bool) error
	// StartPostCopy lets the guest of a migration under way go on at the target, before all is there.
	StartPostCopy(ctx context.Context, guest string) error
	// AbortJob ends the migration under way; the guest stays where it is.
	AbortJob(ctx context.Context, guest string) error
	// BreakPostCopy ends the job of a migration in its post-copy phase, which can be gone on with then.
	BreakPostCopy(ctx context.Context, guest string) error
	// Resume lets a paused guest's processors run again.
	Resume(ctx context.Context, guest string) error
}

// Surveyor answers the questions of the pre-flight, and changes nothing.
type Surveyor interface {
	// XML is the description of the running guest.
	XML(ctx context.Context, guest string) (string, error)
	// Capabilities is what the host can run, as XML.
	Capabilities(ctx context.Context) (string, error)
	// FreeMemory is what a new guest may take, in bytes.
	FreeMemory(ctx context.Context) (uint64, error)
	// CompareCPU tells whether the host can be the processor that cpuXML describes.
	CompareCPU(ctx context.Context, m libvirt.Machine, cpuXML string) (bool, error)
	// DiskVisible tells whether the host has what a disk's source names. Yes and no are proven.
	DiskVisible(ctx context.Context, source libvirt.DiskSource) (libvirt.Visible, error)
	// DiskSize is how large the guest's disk of that name is, such as "vda".
	DiskSize(ctx context.Context, guest, disk string) (libvirt.DiskSize, error)
	// Room is how many bytes are free in the storage pool in the folder dir, which it looks through anew.
	Room(ctx context.Context, dir string) (uint64, error)
}

// Rehearser asks libvirt itself what it would refuse, and changes nothing.
type Rehearser interface {
	// Rehearse is nil where MigrateToURI3 would begin with the same arguments. At the context's end it returns,
	// and libvirt may go on with the question.
	Rehearse(ctx context.Context, guest, target string, p libvirt.MigrateParams) error
	// Portable is the description of the running guest as a target gets it.
	Portable(ctx context.Context, guest string) (string, error)
	// Accepts is nil where the host's hypervisor has what a guest of that description is made of.
	Accepts(ctx context.Context, domainXML string) error
	// Snapshots are those of the guest.
	Snapshots(ctx context.Context, guest string) (libvirt.Snapshots, error)
}

// Surroundings tells what a host has that a guest is connected to, or lives on.
type Surroundings interface {
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
}

// Keeper makes and removes images at the target, in a storage pool, for disks that are copied.
type Keeper interface {
	// CreateImage fails where there is a file of the name.
	CreateImage(ctx context.Context, image libvirt.Image) error
	// RemoveImage fails with libvirt.ErrForeign where the mark is not beside the file, and does nothing where there is none.
	RemoveImage(ctx context.Context, path string, mark libvirt.Mark) error
	// ReadImage reads the first limit bytes of a file, and nothing where there is none.
	ReadImage(ctx context.Context, path string, limit int) ([]byte, error)
}

// Host is one end of a migration. *client.Conn is one.
type Host interface {
	Witness
	Mover
	Surveyor
	Rehearser
	Surroundings
	Gauge
	Keeper
	// Close gives the connection back. The host must not be used afterwards.
	Close() error
}

// Relay keeps what reaches a guest at its source while it is stopped, and forwards it to the target. It belongs
// to one attempt to migrate. *relay.Relay is one.
type Relay interface {
	events.Relay
	// Close ends it and returns how many frames were forwarded. Before that it waits, until ctx ends, for those that
	// are still to be. The error says why not all were, or could not be.
	Close(ctx context.Context) (passed int, err error)
}

// Deps is what Move needs from outside.
type Deps struct {
	// Open connects to the libvirt at a URI. It is called again when a connection breaks.
	Open func(ctx context.Context, uri string) (Host, error)
	// Gone, when set, is asked while the source's libvirt gives no answer: has the guest's
	// hypervisor process on this node ended? True must be proof. Errors mean "cannot tell".
	Gone func(ctx context.Context, guest, uuid string) (bool, error)
	// Halted, when set, is asked where the source's libvirt says that the guest runs, and its driver does not know
	// that by itself: does the guest stand still there, for a hand-over that is under way or has failed? Errors mean
	// "cannot tell", and libvirt's word counts.
	Halted func(ctx context.Context, guest, uuid string) (bool, error)
	// Wake, when set, lets a guest go on at the source that Halted told of.
	Wake func(ctx context.Context, guest, uuid string) error
	// Abort, when set, gives up the migration under way at the source where libvirt's driver cannot; it does not wait for
	// the end. Errors mean that nothing was given up.
	Abort func(ctx context.Context, guest, uuid string) error
	// Slots bounds the migrations at once. The zero value is the default directory with one slot.
	Slots Slots
	// Queue, when not nil, gives moves their turns, before they take a slot.
	Queue Queue
	// Relay, when not nil, makes the relay of a guest that runs on this node, from its XML. It is called just before the
	// migration begins, where the hypervisor tells when the guest stands still.
	Relay func(guest, domainXML string) (Relay, error)
	// Resolve looks up a host's addresses as this node does; nil is the system's own resolver.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	// Own lists this node's addresses; nil asks the system.
	Own func() []netip.Addr
	// Conf is the qemu.conf that says where this node's certificates are; empty is libvirt's own.
	Conf string
	// Links is the file in which LearnLink remembers the links to the peers; empty where nothing does.
	Links string
	// Guests is the file in which LearnGuest remembers the guests; empty where nothing does.
	Guests string
	// Log gets what happens, with the fields guest, peer and phase.
	Log logrus.FieldLogger
}
