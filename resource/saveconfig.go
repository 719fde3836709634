package resource

import (
	"context"
	"fmt"
	"time"

	"github.com/vmferry/vmferry/resource/domainxml"
)

// saveTime is for libvirt's answer.
const saveTime = 5 * time.Second

// saveConfig puts the running guest's configuration into the config file, where the
// operator asks for that. It fails nothing: a guest whose file stays old runs all the same.
func (a *run) saveConfig(ctx context.Context, o observation) {
	if !a.Params.SaveConfig || a.config.err != nil || o.LibvirtErr != nil {
		return
	}
	file := configFile{a.Params.Config, a.command, a.Log}
	text, err := a.definition(ctx)
	changed := false
	if err == nil {
		changed, err = file.put(ctx, text, a.editedMeanwhile)
	}
	switch {
	case err != nil:
		a.Log.WithError(err).Warnf("the guest's configuration was not saved to %s", a.Params.Config)
	case changed && a.Params.SyncConfig:
		file.sync(ctx)
	}
}

// definition is libvirt's XML of this very guest.
func (a *run) definition(ctx context.Context) (string, error) {
	ctx, cancel := within(ctx, saveTime)
	defer cancel()
	var text string
	err := a.guest.Call(ctx, func(conn Hypervisor) (err error) {
		text, err = conn.Definition(ctx, a.guest.Ref())
		return err
	})
	if err != nil {
		return "", err
	}
	d, err := domainxml.Parse(text)
	switch {
	case err != nil:
		return "", fmt.Errorf("libvirt's description of the guest: %w", err)
	case d.Name != a.guest.Name || a.guest.IsOther(d.UUID):
		return "", fmt.Errorf("libvirt describes another guest, %q with UUID %s", d.Name, d.UUID)
	}
	return text, nil
}

// editedMeanwhile reports whether a file was written after the guest started or arrived: such an edit
// is meant for its next start.
func (a *run) editedMeanwhile(written time.Time) bool {
	age, known := a.notes.Guests.Age(a.Instance)
	return known && time.Since(written) < age
}

// beforeStop saves the configuration of a guest that is about to end, in at most a quarter of
// the time that the guest has for it.
func (a *run) beforeStop(ctx context.Context, o observation) {
	if a.Params.ForceStop {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, time.Until(a.began.Add(a.budget.graceful))/4)
	defer cancel()
	a.saveConfig(ctx, o)
}
