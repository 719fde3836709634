package resource

import (
	"context"
	"fmt"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/resource/command"
	"github.com/vmferry/vmferry/resource/domainxml"
	"github.com/vmferry/vmferry/resource/observe"
	"github.com/vmferry/vmferry/resource/param"
	"github.com/vmferry/vmferry/resource/timely"
)

// saveTime is for libvirt's answer.
const saveTime = 5 * time.Second

// configSaver saves the configuration of a guest that runs.
type configSaver struct {
	params param.Params
	config *configState
	guest  *observe.Observer
	age    func() (age time.Duration, known bool) // since when the guest is here, as noted
	run    command.Runner
	log    logrus.FieldLogger
}

// save puts the running guest's configuration into the config file, where the
// operator asks for that. It fails nothing: a guest whose file stays old runs all the same.
func (c configSaver) save(ctx context.Context, o observe.Observation) {
	if !c.params.SaveConfig || c.config.err != nil || o.LibvirtErr != nil {
		return
	}
	file := configFile{c.params.Config, c.run, c.log}
	text, err := c.definition(ctx)
	changed := false
	if err == nil {
		changed, err = file.put(ctx, text, c.editedMeanwhile)
	}
	switch {
	case err != nil:
		c.log.WithError(err).Warnf("the guest's configuration was not saved to %s", c.params.Config)
	case changed && c.params.SyncConfig:
		file.sync(ctx)
	}
}

// definition is libvirt's XML of this very guest.
func (c configSaver) definition(ctx context.Context) (string, error) {
	ctx, cancel := timely.Within(ctx, saveTime)
	defer cancel()
	var text string
	err := c.guest.Call(ctx, func(conn observe.Hypervisor) (err error) {
		text, err = conn.Definition(ctx, c.guest.Ref())
		return err
	})
	if err != nil {
		return "", err
	}
	d, err := domainxml.Parse(text)
	switch {
	case err != nil:
		return "", fmt.Errorf("libvirt's description of the guest: %w", err)
	case d.Name != c.guest.Name || c.guest.IsOther(d.UUID):
		return "", fmt.Errorf("libvirt describes another guest, %q with UUID %s", d.Name, d.UUID)
	}
	return text, nil
}

// editedMeanwhile reports whether a file was written after the guest started or arrived: such an edit
// is meant for its next start.
func (c configSaver) editedMeanwhile(written time.Time) bool {
	age, known := c.age()
	return known && time.Since(written) < age
}
