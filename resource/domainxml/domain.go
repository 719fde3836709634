package domainxml

import (
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
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
		return Domain{}, fmt.Errorf("it is no libvirt domain XML: %w", err)
	}
	s := idScan{dec: xml.NewDecoder(strings.NewReader(text)), first: map[string]string{}}
	if err := s.run(); err != nil {
		return Domain{}, err
	}
	d := Domain{Name: s.first["domain/name"], Emulator: strings.TrimSpace(s.first["domain/devices/emulator"]), Text: text}
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

// idScan reads in one pass what identifies a domain. Where an element is repeated, libvirt takes the first.
type idScan struct {
	dec    *xml.Decoder
	path   []string          // of the elements that are open; those of other namespaces have no name
	first  map[string]string // texts by path
	smbios bool              // the open <sysinfo> is one of SMBIOS
	system int               // how many <system> the open <sysinfo> has had
	board  []string          // the UUIDs that SMBIOS is to show
}

func (s *idScan) run() error {
	for {
		token, err := s.dec.Token()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("it is no libvirt domain XML: %w", err)
		}
		switch t := token.(type) {
		case xml.StartElement:
			if err := s.open(t); err != nil {
				return err
			}
		case xml.EndElement:
			s.path = s.path[:len(s.path)-1]
		}
	}
}

// open looks at an element that begins. libvirt's elements have no namespace.
func (s *idScan) open(t xml.StartElement) error {
	name := t.Name.Local
	if t.Name.Space != "" {
		name = ""
	}
	s.path = append(s.path, name)
	at := strings.Join(s.path, "/")
	switch at {
	case "domain/name", "domain/uuid", "domain/devices/emulator":
		if _, again := s.first[at]; !again {
			return s.take(func(text string) { s.first[at] = text })
		}
	case "domain/sysinfo":
		s.smbios, s.system = attribute(t, "type") == "smbios", 0
	case "domain/sysinfo/system":
		s.system++
	case "domain/sysinfo/system/entry":
		if s.smbios && s.system == 1 && attribute(t, "name") == "uuid" {
			return s.take(func(text string) {
				if text != "" {
					s.board = append(s.board, text)
				}
			})
		}
	}
	if len(s.path) == 1 && name != "domain" {
		return fmt.Errorf("it is no libvirt domain XML: its root element is <%s>, "+
			"and must be <domain> without a namespace", t.Name.Local)
	}
	return nil
}

// take reads the text of the element that has just begun.
func (s *idScan) take(keep func(string)) error {
	at := s.path[len(s.path)-1]
	s.path = s.path[:len(s.path)-1]
	text, err := leaf(s.dec)
	if err != nil {
		return fmt.Errorf("its <%s> cannot be read: %w", at, err)
	}
	keep(text)
	return nil
}

func attribute(t xml.StartElement, name string) string {
	for _, a := range t.Attr {
		if a.Name.Space == "" && a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// uuid is the domain's, which SMBIOS shows as well: where one is given, it stands for both, and two must be the same.
func (s *idScan) uuid() (string, error) {
	var all []string
	for _, text := range append([]string{s.first["domain/uuid"]}, s.board...) {
		if text == "" {
			continue
		}
		u, ok := parseUUID(text)
		if !ok {
			return "", fmt.Errorf("its UUID %q is none: "+
				"write it like 6e2c1a10-7f0b-4000-8000-0123456789ab, or leave it out", text)
		}
		all = append(all, u)
	}
	for _, u := range all {
		if u != all[0] {
			return "", fmt.Errorf("it has two UUIDs, %s and %s: keep one in <uuid> and <sysinfo>", all[0], u)
		}
	}
	if len(all) == 0 {
		return "", nil
	}
	return all[0], nil
}

// parseUUID reads what libvirt takes for a UUID: 32 hexadecimal digits, with dashes and blanks between the pairs.
//
// Source: virUUIDParse in libvirt's src/util/viruuid.c.
func parseUUID(text string) (dashed string, ok bool) {
	const space = " \t\n\v\f\r"
	text = strings.Trim(text, space)
	if strings.HasSuffix(text, "-") {
		return "", false // libvirt takes it in front only
	}
	var digits strings.Builder
	for i := 0; i < len(text); i++ {
		if digits.Len()%2 == 0 && (text[i] == '-' || text[i] == ' ') {
			continue
		}
		if !strings.ContainsRune("0123456789abcdefABCDEF", rune(text[i])) {
			return "", false
		}
		digits.WriteByte(text[i])
	}
	d := strings.ToLower(digits.String())
	if len(d) != 32 {
		return "", false
	}
	return d[:8] + "-" + d[8:12] + "-" + d[12:16] + "-" + d[16:20] + "-" + d[20:], true
}

// IsName tells whether a name can be used. libvirt makes names of files of it, and defines none with a line break.
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

func ReadFile(path string) ([]byte, error) {
	raw, err := safefile.Read(path, maxConfig, safefile.Anyone) // of a file for all, a start warns
	if errors.Is(err, safefile.ErrTooLarge) {
		err = errors.New("it is larger than any domain XML")
	}
	return raw, err
}
