package resource

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/vmferry/vmferry/resource/ocf"
)

func TestParseDomain(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       domain
		ok         bool
	}{
		{"full", guestXML, domain{Name: "vm1", UUID: guestUUID}, true},
		{"namespace, capitals, spaces", "<?xml version='1.0'?><!-- x --><domain xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><name> vm1 </name><uuid> \n" + strings.ToUpper(guestUUID) + "</uuid></domain>",
			domain{Name: " vm1 ", UUID: guestUUID}, true},
		{"a line of its own", "<domain><name>\n vm1\n</name></domain>", domain{}, false},
		{"other names inside", "<domain><metadata><name>no</name></metadata><name>vm1</name><devices><emulator>/usr/bin/kvm</emulator></devices></domain>",
			domain{Name: "vm1", Emulator: "/usr/bin/kvm"}, true},
		{"repeated name", "<domain><name>vm1</name><name>vm2</name></domain>", domain{Name: "vm1"}, true},
		{"entity", "<domain><name>a&amp;b</name></domain>", domain{Name: "a&b"}, true},
		{"slash", "<domain><name>../etc</name></domain>", domain{}, false},
		{"dots", "<domain><name>..</name></domain>", domain{}, false},
		{"no name", "<domain><uuid>x</uuid></domain>", domain{}, false},
		{"pool", "<pool><name>vm1</name></pool>", domain{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parseDomain(c.text)
			got.text = ""
			if (err == nil) != c.ok || got != c.want {
				t.Errorf("parseDomain = %+v, %v, want %+v", got, err, c.want)
			}
		})
	}
}

// FuzzParseDomain checks that a name is safe in a path, and that adopting a UUID
// changes nothing but the UUID.
func FuzzParseDomain(f *testing.F) {
	f.Add(guestXML)
	f.Add("<domain><name>vm1</name></domain>")
	f.Add("<!DOCTYPE x><domain a='>'><name>n</name></domain>")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := parseDomain(text)
		if err != nil {
			return
		}
		if d.Name == "" || strings.Contains(d.Name, "/") {
			t.Fatalf("name %q accepted", d.Name)
		}
		again, err := parseDomain(d.withUUID(guestUUID))
		if err != nil || again.Name != d.Name || again.Emulator != d.Emulator || d.UUID == "" && again.UUID != guestUUID {
			t.Errorf("adopting a UUID made %+v, %v of %+v", again, err, d)
		}
		if text, err := withName(text, "a&<b"); err == nil {
			if renamed, err := parseDomain(text); err != nil || renamed.Name != "a&<b" || renamed.UUID != d.UUID {
				t.Errorf("renaming made %+v, %v of %+v", renamed, err, d)
			}
		}
		_ = namesIn(text)
	})
}

func TestReadDomainRefuses(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large.xml")
	if err := os.WriteFile(large, []byte(guestXML), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(large, maxConfig+1); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, large, "/dev/null", filepath.Join(dir, "none")} {
		if d, err := readDomain(path); err == nil {
			t.Errorf("%s read as %+v", path, d)
		}
	}
}

// What is advertised is done, and the other way round.
func TestMetaDataNamesWhatIsThere(t *testing.T) {
	text := ocf.MetaData()
	for action := range actions {
		if !ocf.IsAction(action) {
			t.Errorf("action %s is refused before anybody looks", action)
		}
		line := regexp.MustCompile(fmt.Sprintf(`<action name="%s" (depth="0" )?timeout="%.0fs"`, action, defaults[action].Seconds()))
		if !line.MatchString(text) {
			t.Errorf("action %s is not advertised with its default timeout %v", action, defaults[action])
		}
	}
	for _, p := range parameters {
		if !strings.Contains(text, `<parameter name="`+p.name+`"`) {
			t.Errorf("parameter %s is not advertised", p.name)
		}
	}
	if got, want := strings.Count(text, "<parameter name="), len(parameters); got != want {
		t.Errorf("%d parameters advertised, %d known", got, want)
	}
}

// A resource that was taken out of the configuration is stopped without its parameters.
func TestStopWithoutParameters(t *testing.T) {
	for _, c := range []struct {
		name, action string
		noted        bool
		want         ExitCode
	}{
		{"stop", "stop", true, Success},
		{"monitor", "monitor", true, Success},
		{"start", "start", true, Configured},
		{"stop, never seen here", "stop", false, Configured},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, c.action)
				w.boot()
				if c.noted {
					err, _ := w.run("monitor")
					checkExit(t, err, Success, "")
				}
				bare := ParseEnviron([]string{"OCF_RESOURCE_INSTANCE=res1", "OCF_RESKEY_CRM_meta_timeout=40000"})
				w.agent.Environ = bare
				err, _ := w.run(c.action)
				checkExit(t, err, c.want, "")
				if gone := !w.there; gone != (c.action == "stop" && c.want == Success) {
					t.Errorf("the guest is gone: %v", gone)
				}
			})
		})
	}
}
