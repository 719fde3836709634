package domainxml

import (
	"encoding/xml"
	"errors"
	"fmt"
	"strings"
)

// EditTags returns a text with the start tags of the elements at a path, such as "domain/os/type", as edit returns
// them. The rest stays, byte for byte. Of a text that is no XML what comes before the error is edited.
func EditTags(text, path string, edit func(t xml.StartElement, tag string) string) string {
	var out strings.Builder
	done := 0
	for e := range elements(text) {
		if e.path == path {
			out.WriteString(text[done:e.from] + edit(e.StartElement, text[e.from:e.to]))
			done = e.to
		}
	}
	out.WriteString(text[done:])
	return out.String()
}

// WithUUID is the text to start the domain from. Where libvirt holds a definition of the same name, a file without a
// UUID would get a random one and be refused as a second guest of that name; VirtualDomain undefines the definition, we
// take its UUID. The file itself is not changed.
func (d Domain) WithUUID(uuid string) string {
	if d.UUID != "" || uuid == "" {
		return d.Text
	}
	for root := range elements(d.Text) {
		return d.Text[:root.to] + "<uuid>" + uuid + "</uuid>" + d.Text[root.to:]
	}
	return d.Text
}

var errNoNameElement = errors.New("it has no <name>")

// WithName replaces the name in the domain XML that libvirt made of an xl configuration.
func WithName(text, name string) (string, error) {
	for e := range elements(text) {
		if strings.Count(e.path, "/") != 1 || e.Name.Local != "name" {
			continue
		}
		dec := xml.NewDecoder(strings.NewReader(text[e.from:]))
		if err := dec.Decode(&struct{}{}); err != nil {
			return "", fmt.Errorf("read the guest's name in what libvirt made of its xl configuration: %w", err)
		}
		var escaped strings.Builder
		_ = xml.EscapeText(&escaped, []byte(name)) // a Builder takes all
		return text[:e.from] + "<name>" + escaped.String() + "</name>" + text[e.from+int(dec.InputOffset()):], nil
	}
	return "", fmt.Errorf("find the guest's name in what libvirt made of its xl configuration: %w", errNoNameElement)
}

// KeepTPM is a domain's XML with which libvirt keeps an emulated TPM's state when the guest ends. It deletes that of a
// transient domain, as ours are, unless persistent_state says otherwise. A value of the operator's own is kept, and
// releases before 7.0.0 ignore the attribute.
//
// The alternative, to define the guest for as long as it runs, would leave a definition behind wherever an agent is
// killed, and with it a second way to start the guest.
func KeepTPM(text string) string {
	return EditTags(text, "domain/devices/tpm/backend", func(t xml.StartElement, tag string) string {
		if attribute(t, "type") != "emulator" || attribute(t, "persistent_state") != "" {
			return tag
		}
		const begin = "<backend"
		return begin + " persistent_state='yes'" + strings.TrimPrefix(tag, begin)
	})
}
