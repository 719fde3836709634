package resource

import (
	"strings"
	"testing"
)

// keepTPM adds its attribute and changes nothing else, and does so once.
func FuzzKeepTPM(f *testing.F) {
	f.Add("<domain><name>a</name><devices><tpm><backend type='emulator'/></tpm></devices></domain>")
	f.Fuzz(func(t *testing.T, text string) {
		for _, s := range FirmwareState(text) {
			if s.Device == "" || s.Lost == "" || s.Path != "" && !strings.HasPrefix(s.Path, "/") {
				t.Errorf("%+v of %q", s, text)
			}
		}
		d, err := parseDomain(text)
		if err != nil {
			return
		}
		const added = " persistent_state='yes'"
		kept := keepTPM(d.text)
		if strings.ReplaceAll(kept, added, "") != strings.ReplaceAll(d.text, added, "") {
			t.Errorf("%q became %q", d.text, kept)
		}
		if again := keepTPM(kept); again != kept {
			t.Errorf("%q became %q, and then %q", d.text, kept, again)
		}
		if after, err := parseDomain(kept); err != nil || after.Name != d.Name || after.UUID != d.UUID {
			t.Errorf("%q became %q: %v", d.text, kept, err)
		}
	})
}
