package domainxml

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// said is what libvirt made of a file.
type said struct {
	label, text string
	name, uuid  string // uuid is empty where libvirt made one
	refused     bool
}

// libvirtSays reads testdata/libvirt-identity.txt.
func libvirtSays(t testing.TB) []said {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "libvirt-identity.txt"))
	if err != nil {
		t.Fatal(err)
	}
	const rest = "<memory unit='MiB'>32</memory><os><type arch='x86_64' machine='pc'>hvm</type></os>"
	var all []said
	for line := range strings.Lines(string(raw)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		text, err := strconv.Unquote(f[1])
		if err != nil || len(f) != 4 {
			t.Fatalf("%q: %v", line, err)
		}
		s := said{label: f[0], text: strings.ReplaceAll(text, "$REST", rest), refused: f[2] == "refused"}
		if s.name, err = strconv.Unquote(f[2]); err != nil && !s.refused {
			t.Fatalf("%q: %v", line, err)
		}
		if f[3] != "generated" && !s.refused {
			s.uuid = f[3]
		}
		all = append(all, s)
	}
	return all
}

// What is refused although libvirt 11.3 takes it: its releases differ, or Go's decoder cannot read it for certain.
var refusedHere = map[string]string{
	"only blanks": "cannot be used", "only tab": "cannot be used", "charref blank only": "cannot be used",
	"cdata blank":        "cannot be used",
	"blank comment name": "beside a comment", "name comment blank": "beside a comment", "blank PI name": "beside a comment",
	"element in": "element <b>", "blank element": "element <b>", "blank element blank": "element <b>",
	"empty element in": "element <b>",
	"prefixed root":    "without a namespace", "trailing NUL": "illegal character",
	"ascii with utf8": "not plain ASCII at byte 68", "bom latin1": "not plain ASCII", "declared utf-16": `encoding "UTF-16"`,
	"doctype": "--dropdtd", "doctype entity": "--dropdtd", "doctype entity blank": "--dropdtd", "doctype nested": "--dropdtd",
	"doctype external": "--dropdtd", "doctype amp redefined": "--dropdtd", "file entity": "--dropdtd",
	"uuid element in": "element <b>", "uuid blank comment": "beside a comment",
	"sysinfo two": "two UUIDs", "sysinfo entries": "two UUIDs", "sysinfo cdata blank": "beside a comment",
	"file indent": "on one line",
}

// What libvirt refuses for reasons other than name and UUID.
var refusedThere = []string{"long 255", "long 300", "sysinfo no type"}

// A file is the guest that libvirt makes of it, or no guest at all.
func TestIdentityIsLibvirts(t *testing.T) {
	for _, s := range libvirtSays(t) {
		t.Run(s.label, func(t *testing.T) {
			d, err := Parse(s.text)
			why, refused := refusedHere[s.label]
			switch {
			case refused && (err == nil || !strings.Contains(err.Error(), why)):
				t.Errorf("read as %q, %v, want an error about %q", d.Name, err, why)
			case refused:
			case s.refused && err == nil && !slices.Contains(refusedThere, s.label):
				t.Errorf("read as %q with UUID %q, and libvirt refuses it", d.Name, d.UUID)
			case !s.refused && (err != nil || d.Name != s.name || d.UUID != s.uuid):
				t.Errorf("read as %q with UUID %q, %v; libvirt has %q with UUID %q", d.Name, d.UUID, err, s.name, s.uuid)
			}
		})
	}
}

// FuzzIdentity compares what is accepted with libxml2 itself, and what libvirt is given with what was read.
func FuzzIdentity(f *testing.F) {
	for _, s := range libvirtSays(f) {
		f.Add([]byte(s.text))
	}
	xmllint, err := exec.LookPath("xmllint")
	if err != nil {
		f.Skip("xmllint is not here")
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		d, err := Parse(string(raw))
		if err != nil {
			return
		}
		for _, text := range []string{string(raw), d.Text, d.WithUUID(guestUUID)} {
			if got, ok := xpath(t, xmllint, text, "string(/domain/name[1])"); ok && got != d.Name {
				t.Errorf("read as %q, and libxml2 has %q of %q", d.Name, got, text)
			}
		}
		got, ok := xpath(t, xmllint, string(raw), "string(/domain/uuid[1])")
		if u, _ := parseUUID(got); ok && got != "" && u != d.UUID {
			t.Errorf("UUID read as %q, and libxml2 has %q", d.UUID, got)
		}
		again, err := Parse(d.WithUUID(guestUUID))
		if err != nil || again.Name != d.Name || d.UUID == "" && again.UUID != guestUUID || d.UUID != "" && again.UUID != d.UUID {
			t.Errorf("started as %q with UUID %q, %v; read as %q with UUID %q", again.Name, again.UUID, err, d.Name, d.UUID)
		}
	})
}

// xpath is libxml2's answer; ok is false for a document that it refuses.
func xpath(t *testing.T, xmllint, text, expression string) (value string, ok bool) {
	cmd := exec.CommandContext(t.Context(), xmllint, "--nonet", "--nowarning", "--xpath", expression, "-")
	cmd.Stdin = strings.NewReader(text)
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		return "", false
	}
	return strings.TrimSuffix(out.String(), "\n"), true
}
