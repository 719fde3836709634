package domainxml

import (
	"strings"
	"testing"
)

// KeepTPM adds its attribute and changes nothing else, and does so once.
func FuzzKeepTPM(f *testing.F) {
	f.Add("<domain><name>a</name><devices><tpm><backend type='emulator'/></tpm></devices></domain>")
	f.Fuzz(func(t *testing.T, text string) {
		for _, s := range FirmwareOf(text) {
			if s.Device == "" || s.Lost == "" || s.Path != "" && !strings.HasPrefix(s.Path, "/") {
				t.Errorf("%+v of %q", s, text)
			}
		}
		d, err := Parse(text)
		if err != nil {
			return
		}
		const added = " persistent_state='yes'"
		kept := KeepTPM(d.Text)
		if strings.ReplaceAll(kept, added, "") != strings.ReplaceAll(d.Text, added, "") {
			t.Errorf("%q became %q", d.Text, kept)
		}
		if again := KeepTPM(kept); again != kept {
			t.Errorf("%q became %q, and then %q", d.Text, kept, again)
		}
		if after, err := Parse(kept); err != nil || after.Name != d.Name || after.UUID != d.UUID {
			t.Errorf("%q became %q: %v", d.Text, kept, err)
		}
	})
}
