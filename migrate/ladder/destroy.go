package ladder

import "time"

// Destroy ends the guest as a power cut does, for a cold start elsewhere.
const Destroy Rung = "destroy"

// DestroyTime is what a forced stop may take: libvirt's destroy gives QEMU 10 s after SIGTERM and then up to 5 s after
// SIGKILL.
const DestroyTime = 17 * time.Second

var destroy = Spec{
	Name: Destroy, Ended: "it was destroyed", After: Shutdown, Always: true,
	Text:  "(always tried last) ends it as a power cut does.",
	Or:    ", or set force_stop to destroy the guest at each stop",
	Takes: func(Ending) (time.Duration, bool) { return DestroyTime, true },
}
