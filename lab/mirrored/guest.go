package mirrored

import (
	"fmt"
	"path/filepath"
	"time"
)

// Disk is the image of a guest, on the node that it runs on.
func Disk(guest string) string { return filepath.Join(Disks, guest+".qcow2") }

// Pool is a script for bash(1) on each node. It makes the folder of the disks a pool of libvirt's, where it is none.
const Pool = "virsh -q pool-info guests >/dev/null 2>&1 || { virsh -q pool-define-as guests dir --target " + Disks +
	"; virsh -q pool-autostart guests; virsh -q pool-start guests; }"

// LedgerDisk is a script for bash(1) that makes the disk of a guest with a ledger, which has the first 9 MiB. What follows
// is noise, so that a full round has so many MiB more.
func LedgerDisk(file string, noiseMiB int) string {
	return fmt.Sprintf("(head -c 9M /dev/zero; head -c %[2]dM /dev/urandom) >%[1]s.raw"+
		"; qemu-img convert -q -f raw -O qcow2 %[1]s.raw %[1]s; rm %[1]s.raw", file, noiseMiB)
}

// Parameters are those of a guest's resource for the mirror, as NAME and VALUE; the times are in whole seconds.
func Parameters(nodes [2]string, interval, maxLoss time.Duration) [][2]string {
	seconds := func(d time.Duration) string { return fmt.Sprintf("%.0fs", d.Seconds()) }
	return [][2]string{
		{"mirror", nodes[0] + "," + nodes[1]},
		{"mirror_interval", seconds(interval)},
		{"mirror_max_loss", seconds(maxLoss)},
	}
}

// Attribute is the node attribute in which Pacemaker keeps the epoch of a resource's guest. It outlasts the resource.
func Attribute(resource string) string { return "vmferry-mirror-" + resource }
