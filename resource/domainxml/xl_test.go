package domainxml

import (
	"strings"
	"testing"
)

func TestParseXL(t *testing.T) {
	for _, c := range []struct{ name, text, guest, uuid string }{
		{"plain", "# web\nname = \"vm1\"\nuuid = \"5F1A0B52-9A2B-4D0A-8F5E-3A6B7C8D9E0F\"\nmemory = 512\n", "vm1", guestUUID},
		{"no spaces, single quotes, a comment", "name='vm1' # the web server", "vm1", ""},
		{"bare, as older tools took it", "name=vm1", "vm1", ""},
		{"semicolon", "name = \"vm1\";\n", "vm1", ""},
		{"the last one counts", "name=\"a\"\nname=\"b\"", "b", ""},
		{"another key that begins alike", "names = \"a\"\nname_x=\"b\"", "", ""},
		{"computed", "name = \"vm%d\" % n", "", ""},
		{"joined", "name = \"vm\" + str(n)", "", ""},
		{"not closed", "name = \"vm1", "", ""},
		{"a path", "name = \"../vm1\"", "", ""},
		{"a call", "name = id(vm 1)", "", ""},
		{"empty", "name = \n", "", ""},
		{"none", "memory = 512", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := parseXL(c.text)
			if d.Name != c.guest || d.UUID != c.uuid || d.Text != c.text || !d.IsXL {
				t.Errorf("parseXL = %+v, want guest %q, UUID %q", d, c.guest, c.uuid)
			}
		})
	}
}

// FuzzParseXL checks that a name is safe in a path, and stands in the file.
func FuzzParseXL(f *testing.F) {
	f.Add("name = \"vm1\"\nuuid = \"" + guestUUID + "\"\ndisk = [ 'phy:/dev/vg/vm1,xvda,w' ]\n")
	f.Add("name='vm1' # x\nname=vm2;")
	f.Add("name=")
	f.Fuzz(func(t *testing.T, text string) {
		d := parseXL(text)
		if strings.ContainsAny(d.Name, "/\x00\n% ") || !strings.Contains(text, d.Name) {
			t.Errorf("name %q of %q", d.Name, text)
		}
	})
}
