package domainxml

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	guestUUID = "5f1a0b52-9a2b-4d0a-8f5e-3a6b7c8d9e0f"
	guestXML  = "<domain type='kvm'>\n  <name>vm1</name>\n  <uuid>" + guestUUID + "</uuid>\n</domain>\n"
)

func TestParseDomain(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       Domain
		ok         bool
	}{
		{"full", guestXML, Domain{Name: "vm1", UUID: guestUUID}, true},
		{"namespace, capitals, spaces",
			"<?xml version='1.0'?><!-- x --><domain xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><name> vm1 </name><uuid> \n" + strings.ToUpper(guestUUID) + "</uuid></domain>",
			Domain{Name: " vm1 ", UUID: guestUUID}, true},
		{"a line of its own", "<domain><name>\n vm1\n</name></domain>", Domain{}, false},
		{"other names inside", "<domain><metadata><name>no</name></metadata><name>vm1</name><devices><emulator>/usr/bin/kvm</emulator></devices></domain>",
			Domain{Name: "vm1", Emulator: "/usr/bin/kvm"}, true},
		{"repeated name", "<domain><name>vm1</name><name>vm2</name></domain>", Domain{Name: "vm1"}, true},
		{"entity", "<domain><name>a&amp;b</name></domain>", Domain{Name: "a&b"}, true},
		{"slash", "<domain><name>../etc</name></domain>", Domain{}, false},
		{"dots", "<domain><name>..</name></domain>", Domain{}, false},
		{"no name", "<domain><uuid>x</uuid></domain>", Domain{}, false},
		{"pool", "<pool><name>vm1</name></pool>", Domain{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Parse(c.text)
			got.Text = ""
			if (err == nil) != c.ok || got != c.want {
				t.Errorf("Parse = %+v, %v, want %+v", got, err, c.want)
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
		d, err := Parse(text)
		if err != nil {
			return
		}
		if d.Name == "" || strings.Contains(d.Name, "/") {
			t.Fatalf("name %q accepted", d.Name)
		}
		again, err := Parse(d.WithUUID(guestUUID))
		if err != nil || again.Name != d.Name || again.Emulator != d.Emulator || d.UUID == "" && again.UUID != guestUUID {
			t.Errorf("adopting a UUID made %+v, %v of %+v", again, err, d)
		}
		if text, err := WithName(text, "a&<b"); err == nil {
			if renamed, err := Parse(text); err != nil || renamed.Name != "a&<b" || renamed.UUID != d.UUID {
				t.Errorf("renaming made %+v, %v of %+v", renamed, err, d)
			}
		}
		_ = HostResourcesOf(text)
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
		if d, err := Read(path); err == nil {
			t.Errorf("%s read as %+v", path, d)
		}
	}
}
