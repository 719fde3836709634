package resource

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/atomicfile"
	"github.com/vmferry/vmferry/migrate/mirror"
	"github.com/vmferry/vmferry/migrate/safefile"
	"github.com/vmferry/vmferry/resource/command"
	"github.com/vmferry/vmferry/resource/domainxml"
	"github.com/vmferry/vmferry/resource/observe"
	"github.com/vmferry/vmferry/resource/param"
	"github.com/vmferry/vmferry/resource/timely"
)

// saveTime is for libvirt's answer.
const saveTime = 5 * time.Second

// configState is what came of reading the config file.
type configState struct {
	domain domainxml.Domain // valid when err is nil
	err    error            // why the file cannot be used
}

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
	text, err := c.definition(ctx)
	changed := false
	if err == nil {
		changed, err = timely.GetBriefly(ctx, func() (bool, error) { return c.replace(text) })
	}
	switch {
	case err != nil:
		c.log.WithError(err).Warnf("the guest's configuration was not saved to %s", c.params.Config)
	case changed && c.params.SyncConfig:
		c.sync(ctx)
	}
}

// definition is libvirt's XML of this very guest.
func (c configSaver) definition(ctx context.Context) (string, error) {
	ctx, cancel := timely.Within(ctx, saveTime)
	defer cancel()
	text, err := observe.Ask(ctx, c.guest, func(conn observe.Hypervisor) (string, error) {
		return conn.Definition(ctx, c.guest.Ref())
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
	case strings.Contains(text, mirror.OverlaySuffix+"'"):
		return "", errors.New("it writes to an overlay since a move, which will be gone")
	}
	return text, nil
}

// editedMeanwhile reports whether a file was written after the guest started or arrived: such an edit
// is meant for its next start.
func (c configSaver) editedMeanwhile(written time.Time) bool {
	age, known := c.age()
	return known && time.Since(written) < age
}

// replace writes text into the file, unless it is there or somebody has edited the file. The first time it keeps the
// operator's file beside it.
func (c configSaver) replace(text string) (changed bool, err error) {
	path := c.params.Config
	raw, err := domainxml.ReadFile(path)
	if err != nil {
		return false, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	old := string(raw)
	private := info.Mode().Perm()&0o077 == 0
	switch domainxml.DecideUpdate(old, text, private, c.editedMeanwhile(info.ModTime())) {
	case domainxml.Unchanged:
		return false, nil
	case domainxml.Edited:
		c.log.Infof("%s was edited after the guest started or arrived here, and is not overwritten", path)
		return false, nil
	case domainxml.ReplaceOriginal:
		if err := replaceFile(path+".orig", old, info, false); err != nil {
			return false, err
		}
	}
	secret := domainxml.MayHoldSecrets(text)
	real, _, err := safefile.Look(path, safefile.Anyone) // what a link leads to is replaced, and not the link
	if err == nil {
		err = replaceFile(real, domainxml.Seal(text), info, secret)
	}
	if err != nil {
		return false, err
	}
	c.log.Infof("saved the guest's configuration to %s", path)
	if secret && !private {
		c.log.Infof("only root may read %s from now on, as the configuration may hold a password", path)
	}
	return true, nil
}

// replaceFile writes text to path in one step, for root alone where it is secret, and else with the owner and the mode
// of like, but never before all of it is there.
func replaceFile(path, text string, like fs.FileInfo, secret bool) error {
	return atomicfile.File(path, func(f *os.File) error {
		_, err := f.WriteString(text)
		if secret {
			return err
		}
		err = errors.Join(err, f.Chmod(like.Mode().Perm()))
		if owner, ok := like.Sys().(*syscall.Stat_t); ok {
			err = errors.Join(err, f.Chown(int(owner.Uid), int(owner.Gid)))
		}
		return err
	})
}

// syncTime bounds csync2.
const syncTime = 10 * time.Second

// sync has csync2 copy the file to the other nodes, as VirtualDomain does.
func (c configSaver) sync(ctx context.Context) {
	ctx, cancel := timely.Within(ctx, syncTime)
	defer cancel()
	path := c.params.Config
	if out, err := c.run(ctx, "csync2", "-x", path); err != nil {
		c.log.WithError(command.Explain(out, err)).Warnf("%s was not copied to the other nodes: type csync2 -x %s",
			path, path)
	}
}
