package domainxml

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"iter"
	"regexp"
	"strings"
	"unicode/utf8"
)

// declaration is what XML 1.0 allows at the start of a document (production 23, XMLDecl).
var declaration = regexp.MustCompile(`^<\?xml[ \t\r\n]+version[ \t\r\n]*=[ \t\r\n]*(?:"([^"<]*)"|'([^'<]*)')` +
	`(?:[ \t\r\n]+encoding[ \t\r\n]*=[ \t\r\n]*(?:"([^"<]+)"|'([^'<]+)'))?` +
	`(?:[ \t\r\n]+standalone[ \t\r\n]*=[ \t\r\n]*(?:"(?:yes|no)"|'(?:yes|no)'))?[ \t\r\n]*\?>`)

var (
	versionOne = regexp.MustCompile(`^1\.[0-9]+$`) // libxml2 reads every 1.N as 1.0
	utf8Alias  = regexp.MustCompile(`(?i)^utf-?8$`)
	// asciiBased are encodings in which a byte below 0x80 is what it is in ASCII.
	asciiBased = regexp.MustCompile(`(?i)^(?:us-ascii|ascii|ansi_x3\.4-19(?:68|86)|iso646-us|` +
		`iso[-_]?8859-?[0-9]+(?::[0-9]+)?|latin-?[0-9]+|l[0-9]+|(?:windows-|cp)125[0-9]|koi8-[ru])$`)
)

// surrogate matches what may be a reference to half a character, which Go's decoder takes for U+FFFD.
var surrogate = regexp.MustCompile(`&#(?:0*5[5-7][0-9]{3}|x0*[dD][89a-fA-F][0-9a-fA-F]{2});`)

var errByteOrder = errors.New("it is UTF-16: convert it, with iconv -f UTF-16 -t UTF-8, and declare encoding='UTF-8'")

// xmlText gives the text of an XML file without its byte order mark and its XML declaration, which are overwritten
// with blanks, so that offsets and lines stay. What is left has one meaning for every version of libxml2, and for
// Go's decoder.
//
// A declared encoding is an error where releases of libxml2 differ: 2.9 ignores it in the strings that libvirt
// gives it, and later ones obey it. Text in ASCII is the same for both.
func xmlText(raw []byte) (string, error) {
	if bytes.HasPrefix(raw, []byte("\xff\xfe")) || bytes.HasPrefix(raw, []byte("\xfe\xff")) {
		return "", errByteOrder
	}
	mark := 0
	if bytes.HasPrefix(raw, []byte("\xef\xbb\xbf")) {
		mark = 3
	}
	text := strings.Repeat(" ", mark) + string(raw[mark:])
	encoding := ""
	if m := declaration.FindStringSubmatch(text[mark:]); m != nil {
		version := m[1] + m[2]
		encoding = m[3] + m[4]
		if !versionOne.MatchString(version) {
			return "", fmt.Errorf("it declares XML version %q: write <?xml version='1.0'?>", version)
		}
		text = text[:mark] + blank(m[0]) + text[mark+len(m[0]):]
	}
	if err := checkEncoding(text, encoding); err != nil {
		return "", err
	}
	return text, nil
}

// checkEncoding refuses text that is not the same in the encoding that it declares and in UTF-8.
func checkEncoding(text, declared string) error {
	beyond := strings.IndexFunc(text, func(c rune) bool { return c >= utf8.RuneSelf })
	switch {
	case declared == "" || utf8Alias.MatchString(declared):
		if !utf8.ValidString(text) {
			return errors.New("it is not UTF-8: convert it, for instance with iconv -f ISO-8859-1 -t UTF-8")
		}
	case !asciiBased.MatchString(declared):
		return fmt.Errorf("it declares the encoding %q: "+
			"convert it to UTF-8 with iconv, and declare encoding='UTF-8'", declared)
	case beyond >= 0:
		return fmt.Errorf("it declares the encoding %q and is not plain ASCII at byte %d, "+
			"which releases of libvirt read differently: "+
			"convert it to UTF-8 with iconv, and declare encoding='UTF-8'", declared, beyond)
	}
	return nil
}

// blank has blanks in place of everything but line breaks.
func blank(s string) string {
	return strings.Map(func(c rune) rune {
		if c == '\n' || c == '\r' {
			return c
		}
		return ' '
	}, s)
}

// checkDocument refuses what Go's decoder takes and libxml2 does not, and document types: an entity may be
// any text.
func checkDocument(text string) error {
	if ref := surrogate.FindString(text); ref != "" {
		return fmt.Errorf("its reference %s may be no character: write the character itself", ref)
	}
	dec := xml.NewDecoder(strings.NewReader(text))
	for depth, roots := 0, 0; ; {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return nil // an empty document has no root, which its reader finds
		}
		if err != nil {
			return err
		}
		switch t := token.(type) {
		case xml.StartElement:
			depth++
			if depth == 1 {
				roots++
			}
		case xml.EndElement:
			depth--
		case xml.Directive:
			return errors.New("it has a document type, whose entities can change the guest's name: " +
				"write its text out with xmllint --noent --dropdtd, and use that")
		case xml.ProcInst:
			if strings.EqualFold(t.Target, "xml") {
				return errors.New("its XML declaration is malformed or not at its very start: " +
					"begin it with <?xml version='1.0' encoding='UTF-8'?>")
			}
		case xml.CharData:
			if depth == 0 && !isBlank(string(t)) {
				return errors.New("it has text outside of its root element: remove that")
			}
		}
		if roots > 1 {
			return errors.New("it has more than one root element: keep one <domain> in each file")
		}
	}
}

// element is a start tag.
type element struct {
	xml.StartElement
	path     string // names from the root, such as "domain/os/type"; those of other namespaces than libvirt's are empty
	document string
	from, to int // the tag's bytes in the document
}

// elements lists the start tags in their order, up to the first error of syntax.
func elements(text string) iter.Seq[element] {
	return func(yield func(element) bool) {
		dec, at := xml.NewDecoder(strings.NewReader(text)), []string(nil)
		for {
			from := int(dec.InputOffset())
			token, err := dec.Token()
			if err != nil {
				return
			}
			switch t := token.(type) {
			case xml.EndElement:
				at = at[:len(at)-1]
			case xml.StartElement:
				name := t.Name.Local
				if t.Name.Space != "" { // libvirt's elements have none
					name = ""
				}
				at = append(at, name)
				if !yield(element{t, strings.Join(at, "/"), text, from, int(dec.InputOffset())}) {
					return
				}
			}
		}
	}
}

// isBlank reports whether s is of XML's white space alone.
func isBlank(s string) bool { return strings.Trim(s, " \t\r\n") == "" }

var errMixed = errors.New("it has blanks beside a comment or a CDATA section: write its text alone")

// text reads an element that has nothing but text, as XPath's string() has it. Blanks beside a comment, a CDATA section
// or an instruction are an error: libxml2 drops some of them as indentation (areBlanks), by rules that have changed.
func (e element) text() (string, error) {
	dec := xml.NewDecoder(strings.NewReader(e.document[e.from:]))
	if _, err := dec.Token(); err != nil { // its start tag
		return "", err
	}
	var text strings.Builder
	parts, blanks := 0, false
	for {
		token, err := dec.Token()
		if err != nil {
			return "", err
		}
		parts++
		switch t := token.(type) {
		case xml.StartElement:
			return "", fmt.Errorf("it holds the element <%s>: write its text alone", t.Name.Local)
		case xml.CharData:
			blanks = blanks || isBlank(string(t))
			text.Write(t)
		case xml.EndElement:
			if blanks && parts > 2 {
				return "", errMixed
			}
			return text.String(), nil
		}
	}
}
