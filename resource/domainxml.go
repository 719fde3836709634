package resource

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// maxConfig is far above any domain XML: a config that is a device or a
// disk image must not fill the node's memory.
const maxConfig = 8 << 20

// domain is what the agent needs to know of a domain XML.
type domain struct {
	Name     string
	UUID     string // lower case
	Emulator string

	text    string
	hasUUID bool // there is a <uuid>, be it empty
	native  bool // text is no XML but an xl configuration
}

// domainXML is the form of the file. Where an element is repeated, libvirt
// takes the first one.
type domainXML struct {
	XMLName   xml.Name `xml:"domain"`
	Names     []string `xml:"name"`
	UUIDs     []string `xml:"uuid"`
	Emulators []string `xml:"devices>emulator"`
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return strings.TrimSpace(values[0])
}

var errNoName = errors.New("it has no <name>: add <name>GUEST</name> below <domain>")

// parseDomain reads the text of a domain XML.
func parseDomain(text string) (domain, error) {
	var x domainXML
	if err := xml.Unmarshal([]byte(text), &x); err != nil {
		return domain{}, fmt.Errorf("it is no libvirt domain XML: %w", err)
	}
	d := domain{Name: first(x.Names), UUID: strings.ToLower(first(x.UUIDs)), Emulator: first(x.Emulators), text: text, hasUUID: len(x.UUIDs) > 0}
	switch {
	case d.Name == "":
		return domain{}, errNoName
	case !validName(d.Name):
		return domain{}, fmt.Errorf("its name %q is one that libvirt refuses", d.Name)
	}
	return d, nil
}

// validName tells whether libvirt takes a name, which it uses in those of files.
func validName(name string) bool {
	return !strings.ContainsAny(name, "/\n\x00") && name != "." && name != ".."
}

// readDomain reads the file of a domain XML. The error of a file that is not there is fs.ErrNotExist.
func readDomain(path string) (domain, error) {
	raw, err := readConfig(path)
	if err != nil {
		return domain{}, err
	}
	return parseDomain(string(raw))
}

func readConfig(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, errors.New("it is not a regular file"))
	}
	raw, err := io.ReadAll(io.LimitReader(file, maxConfig+1))
	if err == nil && len(raw) > maxConfig {
		err = errors.New("it is larger than any domain XML")
	}
	return raw, err
}

// withUUID is the text to start the domain from. Where libvirt holds a definition of
// the same name, a file without a UUID would get a random one and be refused as a
// second guest of that name; VirtualDomain undefines the definition, we adopt its UUID.
// The file itself is not touched.
func (d domain) withUUID(uuid string) string {
	if d.hasUUID || uuid == "" {
		return d.text
	}
	at, ok := rootEnd(d.text)
	if !ok {
		return d.text
	}
	return d.text[:at] + "<uuid>" + uuid + "</uuid>" + d.text[at:]
}

// rootEnd is the offset just behind the root element's start tag.
func rootEnd(text string) (int, bool) {
	dec := xml.NewDecoder(strings.NewReader(text))
	for {
		token, err := dec.Token()
		if err != nil {
			return 0, false
		}
		if _, ok := token.(xml.StartElement); ok {
			return int(dec.InputOffset()), true
		}
	}
}
