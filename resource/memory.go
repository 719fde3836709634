package resource

import (
	"context"
	"fmt"

	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/libvirt"
)

// checkMemory refuses a start that the node has too little memory for, where the hypervisor gives a guest all of it at
// once: what Xen says of that itself is that a domain could not be created. text is the guest's XML.
func (a *run) checkMemory(ctx context.Context, conn Hypervisor, text string) error {
	driver := libvirt.DriverOf(a.Params.Hypervisor)
	need := migrate.MemoryNeed(text, driver)
	if !driver.FixedMemory() || need == 0 {
		return nil
	}
	free, err := conn.FreeMemory(ctx)
	if err != nil {
		a.Log.WithError(err).Info("whether there is memory for the guest is not known")
		return nil
	}
	if free < need {
		return fmt.Errorf("the node has %d MiB of memory free, and the guest needs %d MiB: move or stop another guest, or give this one less",
			free>>20, (need+1<<20-1)>>20)
	}
	return nil
}
