package libvirt

import (
	"cmp"
	"fmt"
	"strings"
)

// QEMUDir is a directory that libvirt's system daemon gives to the user that it runs QEMU as, whom its configuration and
// its build decide (qemuStateInitialize in src/qemu/qemu_driver.c).
const QEMUDir = "/var/lib/libvirt/qemu"

// Ability is something that not every driver of libvirt's can do, in words that go after "cannot".
type Ability string

// The abilities. Each names the call or flag of libvirt's that takes it.
const (
	CanBoundPause   Ability = "bound the pause of a migration"                     // virDomainMigrateSetMaxDowntime
	CanBoundSpeed   Ability = "bound the speed of a migration"                     // virDomainMigrateSetMaxSpeed, VIR_MIGRATE_PARAM_BANDWIDTH
	CanAbort        Ability = "abort a migration"                                  // virDomainAbortJob
	CanNoticeTarget Ability = "notice in time that a migration's target is gone"   // the connection to it moves nothing
	CanTellProgress Ability = "tell how far a migration is"                        // virDomainGetJobStats beyond the time
	CanTellPause    Ability = "tell when a guest stops and goes on"                // virConnectDomainQemuMonitorEventRegister
	CanThrottle     Ability = "slow down a guest that writes too fast"             // VIR_MIGRATE_AUTO_CONVERGE
	CanPostCopy     Ability = "let a guest go on before all of its memory came"    // VIR_MIGRATE_POSTCOPY
	CanCopyDisks    Ability = "copy disks"                                         // VIR_MIGRATE_NON_SHARED_DISK
	CanEncrypt      Ability = "encrypt a migration"                                // VIR_MIGRATE_TLS
	CanTune         Ability = "use compression or several connections"             // VIR_MIGRATE_COMPRESSED, VIR_MIGRATE_PARALLEL
	CanMeasure      Ability = "measure how fast a guest writes"                    // virDomainStartDirtyRateCalc
	CanHeedDisks    Ability = "end a migration at an error of a disk"              // VIR_MIGRATE_ABORT_ON_ERROR, VIR_MIGRATE_UNSAFE
	CanKnowState    Ability = "know a guest's state by itself"                     // virDomainGetState asks the hypervisor, or is told
	CanMarkSaved    Ability = "mark a saved state that is not whole"               // QEMU_SAVE_PARTIAL, in libvirt's own file
	CanRestoreAs    Ability = "restore a guest with another description"           // virDomainRestoreFlags with dxml
	CanDropArrivals Ability = "drop what a migration left whose source is gone"    // when the connection of the source ends
	CanRehearse     Ability = "be asked beforehand what it would refuse"           // VIR_MIGRATE_PARAM_DEST_XML as in client.Conn.Rehearse
	CanKeepGuest    Ability = "keep a guest's process while the guest is rebooted" // a reboot resets it in place
)

// Driver is one of libvirt's drivers, and what it can do.
type Driver struct {
	Name       string // in URIs, such as "qemu"
	Hypervisor string // its name for people, such as "QEMU"
	Vessel     string // what a guest runs in, such as "QEMU process"
	Daemon     string // that has this driver alone, such as "virtqemud"
	lacks      []Ability

	fixedMemory bool // a guest has all of its memory from its start on, and the hypervisor keeps some for itself beside it
}

// drivers are those of which more is known than their name. What Xen's lacks was read in libvirt 11.3
// (LIBXL_MIGRATION_FLAGS and LIBXL_MIGRATION_PARAMETERS of libxl_migration.h, libxlHypervisorDriver and
// libxlDomainGetJobStats of libxl_driver.c), where such a call or flag is an error (3, 8 or 84). Its state of a
// guest is what it did last: it does not know that a guest stands still for a migration that then failed.
var drivers = []Driver{
	{Name: "qemu", Hypervisor: "QEMU", Vessel: "QEMU process", Daemon: "virtqemud"},
	{Name: "xen", Hypervisor: "Xen", Vessel: "Xen domain", Daemon: "virtxend", fixedMemory: true, lacks: []Ability{
		CanBoundPause, CanBoundSpeed, CanAbort, CanNoticeTarget, CanTellProgress, CanTellPause, CanThrottle, CanPostCopy,
		CanCopyDisks, CanEncrypt, CanTune, CanMeasure, CanHeedDisks, CanKnowState, CanMarkSaved, CanDropArrivals,
		CanKeepGuest, CanRehearse, CanRestoreAs,
	}},
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
	return Driver{Name: name, Hypervisor: name, Vessel: "process", Daemon: "libvirtd"}
}

// IsXen tells whether its guests are Xen's: for what an ability does not say, as where to look for them without libvirt
// and in which words they are described.
func (d Driver) IsXen() bool { return d.Name == "xen" }

// Lacks is an [*Unsupported] where the driver has not the ability, and nil where it has.
func (d Driver) Lacks(a Ability) error {
	for _, lack := range d.lacks {
		if lack == a {
			return &Unsupported{Driver: d.Name, Hypervisor: d.Hypervisor, What: a}
		}
	}
	return nil
}

// Can tells whether the driver has the ability.
func (d Driver) Can(a Ability) bool { return d.Lacks(a) == nil }

// FixedMemory tells whether a guest gets all of its memory when it is created: then it cannot be, where the host has not
// as much free.
func (d Driver) FixedMemory() bool { return d.fixedMemory }

// Overhead is what the hypervisor takes for itself, in bytes, beside the memory bytes of a guest of so many
// processors, as far as it is known.
//
// Source: libxl_get_required_shadow_memory, 1 MiB for each processor and two pages for each MiB, and the
// 2 MiB that libxl allows for devices.
func (d Driver) Overhead(memory uint64, cpus uint) uint64 {
	if !d.fixedMemory {
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
	return fmt.Sprintf("not supported by the hypervisor's driver: libvirt's driver for %s cannot %s", cmp.Or(u.Hypervisor, u.Driver), u.What)
}

// Is reports whether target is ErrUnsupported.
func (u *Unsupported) Is(target error) bool { return target == ErrUnsupported }
