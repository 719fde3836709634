package resource

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/migrate/safefile"
	"github.com/vmferry/vmferry/resource/domainxml"
	"github.com/vmferry/vmferry/resource/ocf"
)

const grownXML = "<domain type='kvm'>\n  <name>vm1</name>\n  <uuid>" + guestUUID + "</uuid>\n  <vcpu>8</vcpu>\n</domain>\n"

func TestSaveConfig(t *testing.T) {
	const other = "<domain><name>vm1</name><uuid>99999999-2222-3333-4444-555555555555</uuid></domain>"
	hour := time.Hour
	for _, c := range []struct {
		name, file, libvirt string
		edited              time.Duration // before (or after) the guest came here
		sync                bool
		want, orig          string
		ran                 string
	}{
		{"changed", guestXML, grownXML, hour, false, domainxml.Seal(grownXML), guestXML, ""},
		{"changed, to all nodes", guestXML, grownXML, hour, true, domainxml.Seal(grownXML), guestXML, "csync2 -x"},
		{"the same", grownXML, grownXML, hour, true, grownXML, "", ""},
		{"saved before", domainxml.Seal(grownXML), grownXML, hour, true, domainxml.Seal(grownXML), "", ""},
		{"saved before, and changed", domainxml.Seal(guestXML), grownXML, hour, false, domainxml.Seal(grownXML), "", ""},
		{"saved before, then edited", domainxml.Seal(guestXML) + " ", grownXML, hour, false, domainxml.Seal(grownXML),
			domainxml.Seal(guestXML) + " ", ""},
		{"edited while the guest runs", guestXML, grownXML, -hour, true, guestXML, "", ""},
		{"saved while the guest runs", domainxml.Seal(guestXML), grownXML, -hour, false, domainxml.Seal(grownXML), "", ""},
		{"libvirt does not answer", guestXML, "", hour, false, guestXML, "", ""},
		{"another guest", guestXML, other, hour, false, guestXML, "", ""},
		{"nonsense", guestXML, "<domain", hour, false, guestXML, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, "monitor")
			w.boot()
			config := w.write("vm1.xml", c.file)
			err, _ := w.run("monitor") // writes the note
			checkExit(t, err, ocf.Success, "")
			if err := os.Chtimes(config, time.Time{}, time.Now().Add(-c.edited)); err != nil {
				t.Fatal(err)
			}
			w.definition = c.libvirt
			w.agent.Params.SaveConfig, w.agent.Params.SyncConfig = true, c.sync
			w.program = func(context.Context, string) (string, error) { return fails("not set up") }
			err, _ = w.run("monitor")
			checkExit(t, err, ocf.Success, "")
			if got := strings.TrimSuffix(strings.Join(w.calls, " "), " "+config); got != c.ran {
				t.Errorf("ran %q, want %q", got, c.ran)
			}
			got, _ := os.ReadFile(config)
			orig, _ := os.ReadFile(config + ".orig")
			if string(got) != c.want || string(orig) != c.orig {
				t.Errorf("the file has %q and its backup %q, want %q and %q", got, orig, c.want, c.orig)
			}
			info, err := os.Stat(config)
			if err != nil || info.Mode().Perm() != 0o644 {
				t.Errorf("the file's mode is %v, %v", info.Mode(), err)
			}
			if left, _ := filepath.Glob(filepath.Join(w.dir, ".vmferry-*")); len(left) > 0 {
				t.Errorf("left %v", left)
			}
		})
	}
}

// A stop saves before the guest ends, and a csync2 that hangs takes none of the reserve.
func TestSaveConfigOnStop(t *testing.T) {
	for _, force := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, "stop")
			w.boot()
			config := filepath.Join(w.dir, "vm1.xml")
			w.definition = grownXML
			p := &w.agent.Params
			p.SaveConfig, p.SyncConfig, p.ForceStop = true, true, force
			w.program = func(ctx context.Context, _ string) (string, error) { return "", blocked(ctx) }
			err, took := w.run("stop")
			checkExit(t, err, ocf.Success, "")
			if force {
				w.did("destroy")
			} else {
				w.did("csync2 -x "+config, "shutdown")
			}
			got, _ := os.ReadFile(config)
			if (string(got) == domainxml.Seal(grownXML)) == force || took > 10*time.Second {
				t.Errorf("force_stop %v: took %v, the file has %q", force, took, got)
			}
		})
	}
}

// What libvirt reports a guest's secrets is for root alone, from the first byte on.
func TestSavedSecretsAreRoots(t *testing.T) {
	secret := strings.Replace(grownXML, "</domain>", "<devices><graphics type='vnc' passwd='s3cret'/></devices></domain>", 1)
	for _, c := range []struct {
		name, file, libvirt string
		want                os.FileMode
	}{
		{"no secret", guestXML, grownXML, 0o644},
		{"a password", guestXML, secret, 0o600},
		{"a password, saved by an earlier release", domainxml.Seal(secret), secret, 0o600},
		{"a password that the operator wrote himself", secret, secret, 0o644},
		{"a password for QEMU", guestXML, strings.Replace(grownXML, "</domain>", "<qemu:commandline/></domain>", 1), 0o600},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, "monitor")
			w.boot()
			config := w.write("vm1.xml", c.file)
			must(t, os.Chmod(config, 0o644))
			must(t, os.Chtimes(config, time.Time{}, time.Now().Add(-time.Hour)))
			if os.Geteuid() == 0 {
				must(t, os.Chown(config, nobody, nobody))
			}
			w.definition = c.libvirt
			w.agent.Params.SaveConfig = true
			err, _ := w.run("monitor")
			checkExit(t, err, ocf.Success, "")
			info, err := os.Stat(config)
			if err != nil || info.Mode().Perm() != c.want {
				t.Errorf("the mode is %v, %v, want %v", info.Mode(), err, c.want)
			}
			if owner := safefile.OwnerOf(info); c.want == 0o600 && owner != uint32(os.Geteuid()) {
				t.Errorf("it belongs to %d", owner)
			}
		})
	}
}

// A link at the config file's name is followed, and one where its copy belongs is not.
func TestSaveConfigAndLinks(t *testing.T) {
	w := newWorld(t, "monitor")
	w.boot()
	config, victim := w.write("vm1.xml", guestXML), w.write("victim", "precious")
	must(t, os.Rename(config, filepath.Join(w.dir, "real.xml")))
	must(t, os.Symlink("real.xml", config))
	must(t, os.Symlink(victim, config+".orig"))
	must(t, os.Chtimes(config, time.Time{}, time.Now().Add(-time.Hour)))
	w.definition = grownXML
	w.agent.Params.SaveConfig = true
	err, _ := w.run("monitor")
	checkExit(t, err, ocf.Success, "")
	for path, want := range map[string]string{config: domainxml.Seal(grownXML),
		filepath.Join(w.dir, "real.xml"): domainxml.Seal(grownXML), config + ".orig": guestXML, victim: "precious"} {
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s has %q, %v", path, got, err)
		}
	}
	if target, err := os.Readlink(config); err != nil || target != "real.xml" {
		t.Errorf("the link leads to %q, %v", target, err)
	}
}
