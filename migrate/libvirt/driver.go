package libvirt

import (
	"cmp"
	"fmt"
	"strings"
)

// QEMUDir is a directory that libvirt's system daemon gives to the user that it runs QEMU as, whom its configuration
// and its build decide (qemuStateInitialize in src/qemu/qemu_driver.c).
const QEMUDir = "/var/lib/libvirt/qemu"

// Driver is one of libvirt's hypervisor drivers, and in what it differs from the others.
type Driver struct {
	Name       string // in URIs, such as "qemu"
	Hypervisor string // its name for people, such as "QEMU"
	Vessel     string // what a guest runs in, such as "QEMU process"
	Daemon     string // that has this driver alone, such as "virtqemud"

	// JobControl: a migration is a job that libvirt limits, follows and aborts, and that may do more than copy
	// memory ([Ability]). Without it libvirt copies the guest, reports the time that this takes, and no more.
	JobControl bool
	// TracksProcess: each guest is one process, whose end libvirt sees. A reboot resets it in place,
	// its state is known without asking another, and one that arrives is killed when the connection to its source ends.
	TracksProcess bool
	// SaveImages: a guest is saved in libvirt's own format, which is marked while it is not whole (QEMU_SAVE_PARTIAL),
	// and restored with another description (virDomainRestoreFlags with dxml).
	SaveImages bool
	// FixedMemory: a guest has all of its memory from its creation on, and cannot be created where the host has not as
	// much free, with what the hypervisor keeps for itself beside it.
	FixedMemory bool
}

// drivers are those of which more is known than their name. What Xen's lacks was read in libvirt 11.3
// (LIBXL_MIGRATION_FLAGS and LIBXL_MIGRATION_PARAMETERS of libxl_migration.h, libxlHypervisorDriver and
// libxlDomainGetJobStats of libxl_driver.c), where such a call or flag is an error (3, 8 or 84). Its state of a
// guest is what it did last: it does not know that a guest is paused for a migration that then failed.
var drivers = []Driver{
	{Name: "qemu", Hypervisor: "QEMU", Vessel: "QEMU process", Daemon: "virtqemud",
		JobControl: true, TracksProcess: true, SaveImages: true},
	{Name: "xen", Hypervisor: "Xen", Vessel: "Xen domain", Daemon: "virtxend", FixedMemory: true},
}

// DriverOf is the driver that a URI names, such as "xen+tcp://node2/system". One that is not
// known is believed to be able to do everything: it says itself what it cannot.
func DriverOf(uri string) Driver {
	scheme, _, _ := strings.Cut(uri, ":")
	name, _, _ := strings.Cut(scheme, "+")
	for _, d := range drivers {
		if d.Name == name {
			return d
		}
	}
	return Driver{Name: name, Hypervisor: name, Vessel: "process", Daemon: "libvirtd",
		JobControl: true, TracksProcess: true, SaveImages: true}
}

// IsXen reports whether its guests are Xen's: for where to look for them without libvirt
// and in which words they are described.
func (d Driver) IsXen() bool { return d.Name == "xen" }

// Ability is what a driver with JobControl can do with a migration, in words that go after "cannot".
type Ability string

// The abilities. Each names the call or flag of libvirt's that takes it.
const (
	CanBoundPause Ability = "bound the pause of a migration"                  // virDomainMigrateSetMaxDowntime
	CanBoundSpeed Ability = "bound the speed of a migration"                  // virDomainMigrateSetMaxSpeed
	CanAbort      Ability = "abort a migration"                               // virDomainAbortJob
	CanTellPause  Ability = "tell when a guest stops and goes on"             // virConnectDomainQemuMonitorEvent…
	CanPostCopy   Ability = "let a guest go on before all of its memory came" // VIR_MIGRATE_POSTCOPY
	CanCopyDisks  Ability = "copy disks"                                      // VIR_MIGRATE_NON_SHARED_DISK
	CanEncrypt    Ability = "encrypt a migration"                             // VIR_MIGRATE_TLS
	CanTune       Ability = "use compression or several connections"          // VIR_MIGRATE_COMPRESSED, …_PARALLEL
	CanRehearse   Ability = "be asked beforehand what it would refuse"        // VIR_MIGRATE_PARAM_DEST_XML
)

// Lacks is an [*Unsupported] where the driver has not the ability, and nil where it has.
func (d Driver) Lacks(a Ability) error {
	if d.JobControl {
		return nil
	}
	return &Unsupported{Driver: d.Name, Hypervisor: d.Hypervisor, What: a}
}

// Overhead is what the hypervisor takes for itself, in bytes, beside the memory bytes of a guest of so many
// processors, as far as it is known.
//
// Source: libxl_get_required_shadow_memory, 1 MiB for each processor and two pages for each MiB, and the
// 2 MiB that libxl allows for devices.
func (d Driver) Overhead(memory uint64, cpus uint) uint64 {
	if !d.FixedMemory {
		return 0
	}
	return uint64(cpus)<<20 + memory>>20*(8<<10) + 2<<20
}

// Unsupported is the one reason for whatever is not done because a driver cannot do it. errors.Is finds
// ErrUnsupported in it, as in the error of a driver that was asked.
type Unsupported struct {
	Driver     string // as in URIs
	Hypervisor string // for people
	What       Ability
}

// Error says which driver cannot do what.
func (u *Unsupported) Error() string {
	return fmt.Sprintf("not supported by the hypervisor's driver: libvirt's driver for %s cannot %s",
		cmp.Or(u.Hypervisor, u.Driver), u.What)
}

// Is reports whether target is ErrUnsupported.
func (u *Unsupported) Is(target error) bool { return target == ErrUnsupported }
