package resource

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/vmferry/vmferry/migrate/atomicfile"
	"github.com/vmferry/vmferry/migrate/safefile"
)

const (
	saveTime = 5 * time.Second  // for libvirt's answer
	syncTime = 10 * time.Second // for csync2

	savedMark = "<!-- saved by vmferry-agent "
)

// seal is text with a first line that lets a later call know it for our own, and unchanged.
func seal(text string) string {
	return fmt.Sprintf("%s%x -->\n%s", savedMark, sha256.Sum256([]byte(text)), text)
}

// unseal gives back what seal was given; ours is false for all other text, and also for ours when
// somebody has edited it.
func unseal(sealed string) (text string, ours bool) {
	if !strings.HasPrefix(sealed, savedMark) {
		return "", false
	}
	_, text, _ = strings.Cut(sealed, "\n")
	return text, seal(text) == sealed
}

// saveConfig puts the running guest's configuration into the config file, where the
// operator asks for that. It fails nothing: a guest whose file stays old runs all the same.
func (a *run) saveConfig(ctx context.Context, o observation) {
	if !a.Params.SaveConfig || a.config.err != nil || o.libErr != nil {
		return
	}
	changed, err := a.trySaveConfig(ctx)
	switch {
	case err != nil:
		a.Log.WithError(err).Warnf("the guest's configuration was not saved to %s", a.Params.Config)
	case changed && a.Params.SyncConfig:
		a.syncConfig(ctx)
	}
}

func (a *run) trySaveConfig(ctx context.Context) (changed bool, err error) {
	path := a.Params.Config
	text, err := a.definition(ctx)
	if err != nil {
		return false, err
	}
	ctx, cancel := within(ctx, storageTime)
	defer cancel()
	return timelyValue(ctx, func() (bool, error) { return a.putConfig(path, text) })
}

// putConfig puts text into the config file, unless it is there or somebody has edited the file. The first time it
// keeps the operator's file beside it.
func (a *run) putConfig(path, text string) (changed bool, err error) {
	old, info, err := readWhole(path)
	if err != nil {
		return false, err
	}
	before, ours := unseal(old)
	secret := hasSecrets(text)
	switch {
	case ours && before == text && (!secret || info.Mode().Perm()&0o077 == 0), old == text:
		return false, nil
	case !ours && a.editedMeanwhile(info.ModTime()):
		a.Log.Infof("%s was edited after the guest came here, and is left as it is", path)
		return false, nil
	case !ours:
		if err := replaceFile(path+".orig", old, info, false); err != nil {
			return false, err
		}
	}
	real, _, err := safefile.Look(path, safefile.Anyone) // what a link leads to is replaced, and not the link
	if err == nil {
		err = replaceFile(real, seal(text), info, secret)
	}
	if err != nil {
		return false, err
	}
	a.Log.Infof("saved the guest's configuration to %s", path)
	if secret && info.Mode().Perm()&0o077 != 0 {
		a.Log.Infof("only root may read %s from now on, as the configuration may hold a password", path)
	}
	return true, nil
}

// definition is libvirt's XML of this very guest.
func (a *run) definition(ctx context.Context) (string, error) {
	ctx, cancel := within(ctx, saveTime)
	defer cancel()
	conn, err := a.connect(ctx)
	if err != nil {
		return "", err
	}
	text, err := conn.Definition(ctx, a.ref())
	if err != nil {
		a.dropBroken(err)
		return "", err
	}
	d, err := parseDomain(text)
	switch {
	case err != nil:
		return "", fmt.Errorf("libvirt's description of the guest: %w", err)
	case d.Name != a.guest.Name || a.isOther(d.UUID):
		return "", fmt.Errorf("libvirt describes another guest, %q with UUID %s", d.Name, d.UUID)
	}
	return text, nil
}

// editedMeanwhile tells whether a file was written after the guest started or arrived: such an edit
// is meant for its next start.
func (a *run) editedMeanwhile(written time.Time) bool {
	age, known := a.notes.Guests.Age(a.Instance)
	return known && time.Since(written) < age
}

func readWhole(path string) (string, fs.FileInfo, error) {
	raw, err := readConfig(path)
	if err != nil {
		return "", nil, err
	}
	info, err := os.Stat(path)
	return string(raw), info, err
}

// secretWords stand in what libvirt tells of a guest only to those who may know its secrets, or in front of what
// somebody hands QEMU past libvirt. Where one stands for something else, the file is private without need.
var secretWords = regexp.MustCompile(`(?i)passw|secret|<launchSecurity|<qemu:`)

// hasSecrets tells whether a guest's XML may hold what nobody but root is to know.
func hasSecrets(text string) bool { return secretWords.MatchString(text) }

// replaceFile writes text to path in one step, for root alone where it is secret, and else with the owner and the mode of
// like, but never before all of it is there.
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

// syncConfig has csync2 copy the file to the other nodes, as VirtualDomain does.
func (a *run) syncConfig(ctx context.Context) {
	ctx, cancel := within(ctx, syncTime)
	defer cancel()
	if out, err := a.command(ctx, "csync2", "-x", a.Params.Config); err != nil {
		a.Log.WithError(explain(out, err)).Warnf("%s was not copied to the other nodes: run csync2 -x %s there by hand", a.Params.Config, a.Params.Config)
	}
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
