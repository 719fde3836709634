package domainxml

import (
	"strings"
	"testing"
)

const grownXML = "<domain type='kvm'>\n  <name>vm1</name>\n  <uuid>" + guestUUID + "</uuid>\n  <vcpu>8</vcpu>\n</domain>\n"

func TestSeal(t *testing.T) {
	sealed := Seal(grownXML)
	if text, ours := Unseal(sealed); !ours || text != grownXML {
		t.Errorf("unsealed %q, %v", text, ours)
	}
	if d, err := Parse(sealed); err != nil || d.Name != "vm1" {
		t.Errorf("parsed %+v, %v", d, err)
	}
	for _, text := range []string{"", guestXML, strings.Replace(sealed, "8", "9", 1), savedMark,
		strings.TrimSuffix(sealed, "\n")} {
		if _, ours := Unseal(text); ours {
			t.Errorf("%q passes for ours", text)
		}
	}
}

func TestDecideUpdate(t *testing.T) {
	const secret = "<domain><graphics passwd='x'/></domain>"
	for _, c := range []struct {
		name, old, text string
		private, edited bool
		want            Update
	}{
		{"the operator's", guestXML, grownXML, false, false, ReplaceOriginal},
		{"the operator's, edited", guestXML, grownXML, false, true, Edited},
		{"the operator's, the same", guestXML, guestXML, false, true, Unchanged},
		{"saved before, the same", Seal(grownXML), grownXML, false, true, Unchanged},
		{"saved before, changed", Seal(guestXML), grownXML, false, true, Replace},
		{"saved before, then edited", Seal(guestXML) + " ", grownXML, false, true, Edited},
		{"a secret, for all to read", Seal(secret), secret, false, false, Replace},
		{"a secret, private", Seal(secret), secret, true, false, Unchanged},
	} {
		if got := DecideUpdate(c.old, c.text, c.private, c.edited); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}
