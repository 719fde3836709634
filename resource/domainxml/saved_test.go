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
	for _, text := range []string{"", guestXML, strings.Replace(sealed, "8", "9", 1), savedMark, strings.TrimSuffix(sealed, "\n")} {
		if _, ours := Unseal(text); ours {
			t.Errorf("%q passes for ours", text)
		}
	}
}
