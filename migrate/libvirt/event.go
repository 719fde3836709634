package libvirt

import "time"

// Event is one event of QEMU's monitor as libvirt passes it on.
type Event struct {
	Name    string // such as "STOP"
	Seconds int64  // QEMU's stamp: the clock of the host that runs QEMU, Unix time
	Micros  uint   // its microseconds
	Details string // the event's data as JSON, empty when there is none

	Received time.Time // our own clock when the event arrived
}
