package resource

import (
	"context"
	"fmt"

	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/domainxml"
)

// checkMemory compares what the guest needs with what the node has, by the rule of a migration's target: see
// [migrate.JudgeMemory]. Xen gives a guest all of its memory at once, and reports a lack of it only as a domain that could
// not be created. text is the guest's XML.
func (a *run) checkMemory(ctx context.Context, conn Hypervisor, text string) error {
	driver := libvirt.DriverOf(a.Params.Hypervisor)
	need, fixed := migrate.MemoryNeed(text, driver), driver.FixedMemory()
	if need == 0 || a.Params.Memory == migrate.MemoryIgnore && !fixed || domainxml.UsesHugePages(text) {
		return nil
	}
	ctx, cancel := within(ctx, a.budget.call)
	defer cancel()
	free, err := conn.FreeMemory(ctx)
	if err != nil {
		a.Log.WithError(err).Info("whether there is memory for the guest is not known")
		return nil
	}
	short, refused := migrate.JudgeMemory(need, free, fixed, a.Params.Memory)
	has := fmt.Sprintf("%d MiB of memory free, and the guest needs %d MiB", free>>20, (need+1<<20-1)>>20)
	switch {
	case refused:
		return fmt.Errorf("the node has %s: move or stop another guest, or give this one less", has)
	case short:
		a.Log.Warnf("the node may not have memory for the guest: it has %s", has)
	}
	return nil
}
