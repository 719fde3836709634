package resource

import (
	"context"
	"errors"
	"strings"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/safefile"
	"github.com/vmferry/vmferry/resource/ocf"
	"github.com/vmferry/vmferry/resource/param"
	"github.com/vmferry/vmferry/resource/timely"
)

// validate checks what can be checked without libvirt: the parameters (by Run), the
// config file, and the files and programs that both name.
func (a *run) validate(ctx context.Context) error {
	err := timely.Do(ctx, func() error {
		err := checkEmulator(a.config.domain.Emulator, a.Params.Config, a.guest.Name)
		for _, check := range []func(param.Params) error{checkScripts, checkSaveDirs, checkOverlay, checkSync} {
			if err == nil {
				err = check(a.Params)
			}
		}
		return err
	})
	if errors.Is(err, timely.ErrNoStorage) {
		return ocf.Wrapf(ocf.Generic, err, "the files of guest %q cannot be checked", a.guest.Name)
	}
	if err != nil {
		return err
	}
	if name := a.guest.Name; name != strings.TrimSpace(name) {
		a.Log.Warnf("the guest's name %q begins or ends with a blank, which libvirt keeps: "+
			"write <name>%s</name> if it is not meant", name, strings.TrimSpace(name))
	}
	warnOfMemory(a.Params, a.Log)
	warnOfFirmware(ctx, a.config.domain.Text, a.Log)
	warnOfWriters(ctx, a.Params.File(), a.Log)
	if a.Params.SavesTo() != "" {
		a.warnOfSaves(ctx)
	}
	return nil
}

// warnOfWriters says who else than root may write the guest's config file. It refuses nothing: a cluster may have run
// that way for long.
func warnOfWriters(ctx context.Context, file string, log logrus.FieldLogger) {
	d, err := timely.GetBriefly(ctx, func() (safefile.Directory, error) { return safefile.SurveyFile(file, safefile.Only()) })
	if err == nil && d.Access == safefile.Exposed { // a file that cannot be looked at is reported elsewhere
		log.Warnf("who writes to config file %q decides which programs libvirt runs as root, and %s: type %s",
			file, d.Why, d.Fix)
	}
}

// warnOfSaves says beforehand that a guest would not be saved.
func (a *run) warnOfSaves(ctx context.Context) {
	place, err := timely.GetBriefly(ctx, a.saver.survey)
	if err == nil {
		err = place.Exposed()
	}
	if err != nil {
		a.Log.WithError(err).Warnf("the guest is not saved to %q", a.Params.SavesTo())
	}
}

// warnOfMemory says what is done about memory in place of what the Xen agent does.
func warnOfMemory(p param.Params, log logrus.FieldLogger) {
	if p.MemManagement {
		log.Warn("allow_mem_management has no effect: remove it and reserved_Dom0_memory, give dom0 a fixed amount " +
			"of memory (dom0_mem=1G,max:1G on Xen's command line), and leave room for the guests that may come")
	}
}
