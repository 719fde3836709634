package resource

import (
	"context"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/observe"
	"github.com/vmferry/vmferry/resource/ocf"
)

// monitor answers whether the guest runs here. A state that is not clear at once gets part of the action's time
// to become so. Where nothing of the guest is here, a probe says so even without the config file, whose file
// system the cluster may have yet to mount: any other answer would ban the resource from the node.
func (a *run) monitor(ctx context.Context) error {
	o := a.lookStable(ctx)
	if o.State == observe.Incoming {
		a.Log.Infof("the guest is arriving and does not run here yet: %s", o)
	}
	if err := decideMonitor(a.guest.Identity, o); err != nil {
		return err
	}
	a.logOddities(o)
	noted := a.isNoted()
	if !a.guess {
		a.tryNoteGuest(o)
		a.images.arrived(ctx)
	}
	return a.tend(ctx, o, noted)
}

// decideMonitor is the answer for a guest, nil for one that runs here.
func decideMonitor(guest observe.Identity, o observe.Observation) error {
	switch {
	case o.IsRunning():
		return nil
	case o.IsGone() && o.Namesake != nil:
		return ocf.Errorf(ocf.NotRunning, "guest %q with UUID %s does not run here: %s", guest.Name, guest.UUID, o)
	case o.IsGone(), o.State == observe.Incoming:
		return &ocf.Error{Code: ocf.NotRunning}
	}
	return stateError(guest.Name, o)
}

// logOddities logs what an operator should know of a guest that counts as running.
func (a *run) logOddities(o observe.Observation) {
	if edited := a.guest.Configured; edited != nil {
		a.Log.Warnf("the config file describes guest %q with UUID %q by now, and %q with UUID %s runs here: "+
			"the file counts when that one has ended", edited.Name, edited.UUID, a.guest.Name, a.guest.UUID)
	}
	switch {
	case o.LibvirtErr != nil:
		a.Log.WithError(o.LibvirtErr).Warnf("libvirt does not answer, but the guest runs: %v", o.Processes[0])
	case o.Libvirt == observe.Absent || o.Status.State == libvirt.ShutOff:
		a.Log.Warnf("the guest runs without libvirt's knowledge: %s", o)
	case o.Status.State == libvirt.Paused:
		a.Log.Warnf("the guest is here but paused, and counts as running: %s", o)
	}
}
