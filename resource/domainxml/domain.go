package domainxml

import (
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/vmferry/vmferry/migrate/safefile"
)

// maxConfig is far above any domain XML: a config that is a device or a
// disk image must not fill the node's memory.
const maxConfig = 8 << 20

// Domain is what the agent needs to know of a domain XML.
type Domain struct {
	Name     string // byte for byte as libvirt has it
	UUID     string // dashed, lower case; empty where libvirt makes one at each start
	Emulator string

	Text string // in UTF-8, without an XML declaration
	IsXL bool   // Text is no XML but an xl configuration
}

var errNoName = errors.New("it has no <name>: add <name>GUEST</name> below <domain>")

// Parse reads the text of a domain XML. Name and UUID are those that libvirt gets from it, or
// it is an error.
func Parse(raw string) (Domain, error) {
	text, err := xmlText([]byte(raw))
	if err == nil {
		err = checkDocument(text)
	}
	if err != nil {
		return Domain{}, fmt.Errorf("it is not a libvirt domain XML: %w", err)
	}
	s, err := scanIdentity(text)
	if err != nil {
		return Domain{}, err
	}
	d := Domain{Name: s.first["domain/name"], Emulator: strings.TrimSpace(s.first["domain/devices/emulator"]),
		Text: text}
	switch {
	case d.Name == "":
		return Domain{}, errNoName
	case !IsName(d.Name):
		return Domain{}, fmt.Errorf("its name %q cannot be used: "+
			"write it on one line, without a slash, as in <name>GUEST</name>", d.Name)
	}
	d.UUID, err = s.uuid()
	return d, err
}

// identity is what identifies a domain, as its XML has it. Where an element is repeated, libvirt takes the first.
type identity struct {
	first map[string]string // texts by path
	board []string          // the UUIDs that SMBIOS is to show
}

// scanIdentity reads a document that is well formed.
func scanIdentity(text string) (s identity, err error) {
	s.first = make(map[string]string)
	isSMBIOS, systems := false, 0 // of the open <sysinfo>
	for e := range elements(text) {
		content := ""
		switch e.path {
		case "domain/name", "domain/uuid", "domain/devices/emulator":
			if _, again := s.first[e.path]; !again {
				s.first[e.path], err = e.text()
			}
		case "domain/sysinfo":
			isSMBIOS, systems = attribute(e.StartElement, "type") == "smbios", 0
		case "domain/sysinfo/system":
			systems++
		case "domain/sysinfo/system/entry":
			if isSMBIOS && systems == 1 && attribute(e.StartElement, "name") == "uuid" {
				content, err = e.text()
				s.board = append(s.board, content)
			}
		}
		if err != nil {
			return s, fmt.Errorf("its <%s> cannot be read: %w", e.Name.Local, err)
		}
		if root, _, _ := strings.Cut(e.path, "/"); root != "domain" {
			return s, fmt.Errorf("it is not a libvirt domain XML: its root element is <%s>, "+
				"and must be <domain> without a namespace", e.Name.Local)
		}
	}
	return s, nil
}

func attribute(t xml.StartElement, name string) string {
	for _, a := range t.Attr {
		if a.Name.Space == "" && a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// uuid is the domain's, which SMBIOS shows as well: where one is given, it is both, and two must be the same.
func (s identity) uuid() (uuid string, err error) {
	for _, text := range append([]string{s.first["domain/uuid"]}, s.board...) {
		if text == "" {
			continue
		}
		u, ok := parseUUID(text)
		switch {
		case !ok:
			return "", fmt.Errorf("its UUID %q is none: "+
				"write it like 6e2c1a10-7f0b-4000-8000-0123456789ab, or leave it out", text)
		case uuid != "" && u != uuid:
			return "", fmt.Errorf("it has two UUIDs, %s and %s: keep one in <uuid> and <sysinfo>", uuid, u)
		}
		uuid = u
	}
	return uuid, nil
}

// parseUUID reads what libvirt takes for a UUID: 32 hexadecimal digits, with dashes and blanks between the pairs.
//
// Source: virUUIDParse in libvirt's src/util/viruuid.c.
func parseUUID(text string) (dashed string, ok bool) {
	text = strings.Trim(text, " \t\n\v\f\r")
	if strings.HasSuffix(text, "-") || !uuidPattern.MatchString(text) { // libvirt takes a dash in front, and not behind
		return "", false
	}
	d := strings.ToLower(strings.NewReplacer("-", "", " ", "").Replace(text))
	return d[:8] + "-" + d[8:12] + "-" + d[12:16] + "-" + d[16:20] + "-" + d[20:], true
}

var uuidPattern = regexp.MustCompile(`^[- ]*(?:[0-9a-fA-F]{2}[- ]*){16}$`)

// IsName reports whether a name can be used. libvirt makes names of files of it, and defines none with a line break.
func IsName(name string) bool {
	return !strings.ContainsAny(name, "/\n\x00") && name != "." && name != ".." && !isBlank(cmp.Or(name, "x"))
}

// Read reads the file of a domain XML. The error of a file that is not there is fs.ErrNotExist.
func Read(path string) (Domain, error) {
	raw, err := ReadFile(path)
	if err != nil {
		return Domain{}, err
	}
	return Parse(string(raw))
}

// ReadFile reads a file of at most eight MiB, whoever owns it.
func ReadFile(path string) ([]byte, error) {
	raw, err := safefile.Read(path, maxConfig, safefile.Anyone) // of a file for all, a start warns
	if errors.Is(err, safefile.ErrTooLarge) {
		err = errors.New("it is larger than any domain XML")
	}
	return raw, err
}
