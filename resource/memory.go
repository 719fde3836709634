package resource

import (
	"context"
	"fmt"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/preflight"
)

// checkMemory compares what the guest needs with what the node has, by the rule of a migration's target: see
// [preflight.JudgeMemory]. Xen gives a guest all of its memory at once, and reports a lack of it only as a domain that
// could not be created. text is the guest's XML.
func checkMemory(ctx context.Context, conn Hypervisor, p Params, text string, log logrus.FieldLogger) error {
	driver := libvirt.DriverOf(p.Hypervisor)
	need, fixed := preflight.MemoryNeed(text, driver), driver.FixedMemory
	if need == 0 || p.Memory == preflight.MemoryIgnore && !fixed {
		return nil
	}
	free, err := conn.FreeMemory(ctx)
	if err != nil {
		log.WithError(err).Info("whether there is memory for the guest is not known")
		return nil
	}
	short, refused := preflight.JudgeMemory(need, free, fixed, p.Memory)
	has := fmt.Sprintf("%d MiB of memory free, and the guest needs %d MiB", free>>20, (need+1<<20-1)>>20)
	switch {
	case refused:
		return fmt.Errorf("the node has %s: move or stop another guest, or give this one less", has)
	case short:
		log.Warnf("the node may not have memory for the guest: it has %s", has)
	}
	return nil
}
